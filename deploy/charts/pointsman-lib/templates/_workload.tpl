{{/* The Deployment of the picker. */}}

{{- define "pointsman.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "pointsman.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "pointsman.deployment" -}}
{{- $router := .Values.router -}}
{{- $epp := $router.epp -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "pointsman.name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
    llm-d.ai/igw-mode: {{ include "pointsman.mode" . }}
spec:
  replicas: {{ $epp.replicas }}
  strategy:
    {{- if eq (include "pointsman.leader" .) "true" }}
    # A replica that does not lead is not ready; waiting for the new ones to be would be waiting forever.
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
    {{- end }}
  selector:
    matchLabels:
      {{- include "pointsman.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "pointsman.labels" . | nindent 8 }}
        {{- include "pointsman.selector" . | nindent 8 }}
        llm-d.ai/igw-mode: {{ include "pointsman.mode" . }}
      {{- with $epp.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "pointsman.name" . }}
      # Else a Service of the name pointsman would give every pod POINTSMAN_PORT, which is a flag's variable.
      enableServiceLinks: false
      # Longer than the longest answer that should still end.
      terminationGracePeriodSeconds: 130
      securityContext:
        {{- include "pointsman.podSecurity" . | nindent 8 }}
      {{- if and $router.tokenizer.enabled $router.tokenizer.initContainers }}
      initContainers:
        {{- toYaml $router.tokenizer.initContainers | nindent 8 }}
      {{- end }}
      containers:
        {{- include "pointsman.picker" . | nindent 8 }}
        {{- if eq (include "pointsman.proxyMode" .) "sidecar" }}
        {{- include "pointsman.proxyContainer" . | nindent 8 }}
        {{- end }}
        {{- if $router.tokenizer.enabled }}
        {{- include "pointsman.tokenizer" . | nindent 8 }}
        {{- end }}
      volumes:
        - name: plugins-config-volume
          configMap:
            name: {{ include "pointsman.name" . }}
        {{- if eq (include "pointsman.proxyMode" .) "sidecar" }}
        {{- include "pointsman.proxyVolumes" . | nindent 8 }}
        {{- end }}
        {{- if $router.tokenizer.enabled }}
        - name: model-cache
          emptyDir: {}
        {{- with $router.tokenizer.volumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- end }}
        {{- with concat ($epp.volumes | default list) ($router.volumes | default list) }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $epp.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $epp.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if $epp.affinity }}
      affinity:
        {{- toYaml $epp.affinity | nindent 8 }}
      {{- else if gt (int $epp.replicas) 1 }}
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
            - weight: 100
              podAffinityTerm:
                topologyKey: kubernetes.io/hostname
                labelSelector:
                  matchLabels:
                    {{- include "pointsman.selector" . | nindent 20 }}
      {{- end }}
{{- end -}}

{{- define "pointsman.picker" -}}
{{- $router := .Values.router -}}
{{- $epp := $router.epp -}}
- name: epp
  image: {{ include "pointsman.image" (dict "image" $epp.image "version" .Chart.AppVersion) }}
  imagePullPolicy: {{ $epp.image.pullPolicy }}
  args:
    {{- include "pointsman.args" . | trim | nindent 4 }}
  env:
    - name: NAMESPACE
      valueFrom:
        fieldRef:
          fieldPath: metadata.namespace
    - name: POD_NAME
      valueFrom:
        fieldRef:
          fieldPath: metadata.name
    {{- if $router.tracing.enabled }}
    {{- include "pointsman.tracingEnv" . | nindent 4 }}
    {{- end }}
    {{- with $epp.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: grpc
      containerPort: {{ include "pointsman.grpcPort" . }}
    - name: grpc-health
      containerPort: {{ include "pointsman.healthPort" . }}
    - name: metrics
      containerPort: {{ include "pointsman.metricsPort" . }}
    {{- with $epp.extraContainerPorts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  # Ready once the pool is known, and while it leads where one is chosen to.
  readinessProbe:
    grpc:
      port: {{ include "pointsman.healthPort" . }}
      service: readiness
    periodSeconds: 2
  # Alive even while there is no pool: starting again would not make one.
  livenessProbe:
    httpGet:
      path: /livez
      port: metrics
      {{- if index ($epp.flags | default dict) "metrics-cert-dir" }}
      scheme: HTTPS
      {{- end }}
    initialDelaySeconds: 5
    periodSeconds: 10
  resources:
    {{- toYaml $epp.resources | nindent 4 }}
  securityContext:
    {{- include "pointsman.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - name: plugins-config-volume
      mountPath: /config
      readOnly: true
    {{- with $epp.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "pointsman.tracingEnv" -}}
{{- $tracing := .Values.router.tracing -}}
- name: OTEL_SERVICE_NAME
  value: llm-d-epp
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ $tracing.otelExporterEndpoint | quote }}
- name: OTEL_TRACES_EXPORTER
  value: otlp
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name=$(NAMESPACE),k8s.node.name=$(NODE_NAME),k8s.pod.name=$(POD_NAME)
- name: OTEL_TRACES_SAMPLER
  value: {{ $tracing.sampling.sampler | quote }}
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $tracing.sampling.samplerArg | quote }}
{{- end -}}

{{- define "pointsman.tokenizer" -}}
{{- $tokenizer := .Values.router.tokenizer -}}
- name: vllm-render
  image: {{ include "pointsman.image" (dict "image" $tokenizer.image "version" "latest") }}
  imagePullPolicy: {{ $tokenizer.image.pullPolicy | default "IfNotPresent" }}
  command:
    {{- toYaml ($tokenizer.command | default (list "vllm" "launch" "render")) | nindent 4 }}
  args:
    {{- toYaml (concat ($tokenizer.args | default (list $tokenizer.modelName (printf "--port=%d" (int $tokenizer.port)))) ($tokenizer.extraArgs | default list)) | nindent 4 }}
  ports:
    - name: render-http
      containerPort: {{ $tokenizer.port }}
  {{- with $tokenizer.readinessProbe }}
  readinessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  env:
    # The pod is not root, so nothing below /root can be its cache.
    - name: HOME
      value: /tmp
    - name: HF_HOME
      value: /model-cache
    {{- with $tokenizer.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $tokenizer.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    # The image is not ours and writes where it likes; the rest holds.
    allowPrivilegeEscalation: false
    capabilities:
      drop: [ALL]
  volumeMounts:
    - name: model-cache
      mountPath: /model-cache
    {{- with $tokenizer.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
