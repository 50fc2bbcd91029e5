{{/* Envoy in front of the picker, for clusters without a gateway: in the picker's pod, or as a Deployment of its own. */}}

{{/* "sidecar", "service" or "none". */}}
{{- define "pointsman.proxyMode" -}}
{{- $proxy := .Values.router.proxy -}}
{{- if $proxy.enabled -}}{{ $proxy.mode | default "sidecar" }}{{- else -}}none{{- end -}}
{{- end -}}

{{/* The proxy with everything filled in: the chart's, then a preset's, then what the user says of it. */}}
{{- define "pointsman.proxy" -}}
{{- $proxy := .Values.router.proxy -}}
{{- $preset := deepCopy (index ($proxy.presets | default dict) "envoy" | default dict) -}}
{{- $chart := include "pointsman.envoyDefaults" . | fromYaml -}}
{{- toYaml (omit (mergeOverwrite $chart $preset (deepCopy $proxy)) "presets") -}}
{{- end -}}

{{- define "pointsman.envoyDefaults" -}}
name: envoy-proxy
image: docker.io/envoyproxy/envoy:distroless-v1.33.2
imagePullPolicy: IfNotPresent
command: envoy
args: [--log-level, warn, --disable-hot-restart, --drain-strategy, immediate, --drain-time-s, "60", -c, /etc/envoy/envoy.yaml]
ports:
  - name: http
    containerPort: {{ include "pointsman.listenerPort" . }}
  - name: envoy-ready
    containerPort: 19001
readinessProbe:
  httpGet:
    path: /ready
    port: 19001
  periodSeconds: 5
  failureThreshold: 1
configMap:
  name: {{ include "pointsman.base" . }}-envoy
{{- end -}}

{{/* Where clients go: the port of the Service that is called http. */}}
{{- define "pointsman.listenerPort" -}}
{{- $found := list -}}
{{- range .Values.router.extraServicePorts -}}
{{- if eq .name "http" }}{{ $found = append $found (.targetPort | default .port) }}{{ end -}}
{{- end -}}
{{- if ne (len $found) 1 -}}
{{- fail "router.extraServicePorts needs one port called http, on which the proxy listens" -}}
{{- end -}}
{{- $port := first $found -}}
{{- if kindIs "string" $port -}}
{{- if not (regexMatch "^[0-9]+$" $port) -}}
{{- fail (printf "router.extraServicePorts: targetPort %q of the port called http is no number" $port) -}}
{{- end -}}
{{- end -}}
{{- int $port -}}
{{- end -}}

{{- define "pointsman.proxyContainer" -}}
{{- $proxy := include "pointsman.proxy" . | fromYaml -}}
- name: {{ $proxy.name }}
  image: {{ $proxy.image }}
  imagePullPolicy: {{ $proxy.imagePullPolicy }}
  command:
    {{- kindIs "slice" $proxy.command | ternary $proxy.command (list $proxy.command) | toYaml | nindent 4 }}
  args:
    {{- toYaml $proxy.args | nindent 4 }}
  {{- range $key := list "env" "ports" "livenessProbe" "readinessProbe" "startupProbe" "resources" }}
  {{- with index $proxy $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  securityContext:
    {{- if $proxy.securityContext }}
    {{- toYaml $proxy.securityContext | nindent 4 }}
    {{- else }}
    {{- include "pointsman.containerSecurity" . | nindent 4 }}
    {{- end }}
  volumeMounts:
    - name: envoy-config
      mountPath: /etc/envoy
      readOnly: true
    {{- with $proxy.volumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "pointsman.proxyVolumes" -}}
{{- $proxy := include "pointsman.proxy" . | fromYaml -}}
- name: envoy-config
  configMap:
    name: {{ $proxy.configMap.name }}
{{- with $proxy.volumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pointsman.proxyConfigMap" -}}
{{- $proxy := include "pointsman.proxy" . | fromYaml -}}
{{- $data := $proxy.configMap.data | default dict -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $proxy.configMap.name }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
data:
  {{- range $name, $text := $data }}
  {{ $name | quote }}: {{ $text | quote }}
  {{- end }}
  {{- if not (hasKey $data "envoy.yaml") }}
  envoy.yaml: |
    {{- include "pointsman.envoyConfig" . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Envoy as a Deployment and a Service of its own. */}}
{{- define "pointsman.proxyWorkload" -}}
{{- $proxy := .Values.router.proxy -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "pointsman.proxyName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
    {{- include "pointsman.proxySelector" . | nindent 4 }}
spec:
  replicas: {{ $proxy.replicas }}
  selector:
    matchLabels:
      {{- include "pointsman.proxySelector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "pointsman.labels" . | nindent 8 }}
        {{- include "pointsman.proxySelector" . | nindent 8 }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 130
      securityContext:
        {{- include "pointsman.podSecurity" . | nindent 8 }}
      containers:
        {{- include "pointsman.proxyContainer" . | nindent 8 }}
      volumes:
        {{- include "pointsman.proxyVolumes" . | nindent 8 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ include "pointsman.proxyName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
    {{- include "pointsman.proxySelector" . | nindent 4 }}
spec:
  type: ClusterIP
  selector:
    {{- include "pointsman.proxySelector" . | nindent 4 }}
  ports:
    {{- toYaml .Values.router.extraServicePorts | nindent 4 }}
{{- if gt (int $proxy.replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "pointsman.proxyName" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "pointsman.labels" . | nindent 4 }}
    {{- include "pointsman.proxySelector" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      {{- include "pointsman.proxySelector" . | nindent 6 }}
{{- end }}
{{- end -}}
