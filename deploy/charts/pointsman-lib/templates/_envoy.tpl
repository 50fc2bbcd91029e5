{{/* Envoy's configuration: ask the picker, go where it says. */}}

{{/* Whether requests go on when the picker cannot be asked. One that it has given no destination yet ends with 503 all the
     same; an answer on its way comes through. */}}
{{- define "pointsman.failOpen" -}}
{{- $given := .Values.router.proxy.failOpen -}}
{{- if kindIs "bool" $given -}}{{ $given }}{{- else -}}{{ eq (include "pointsman.proxyMode" .) "service" }}{{- end -}}
{{- end -}}

{{- define "pointsman.envoyConfig" -}}
{{- $service := eq (include "pointsman.proxyMode" .) "service" -}}
{{- $secure := eq (include "pointsman.secure" .) "true" -}}
{{- $host := printf "%s.%s.svc.%s" (include "pointsman.name" .) .Release.Namespace .Values.router.clusterDomain -}}
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 19000}}
static_resources:
  listeners:
  # Readiness and counters for whoever is outside of the pod; the admin port is not.
  - name: ready
    address: {socket_address: {address: 0.0.0.0, port_value: 19001}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ready
          route_config:
            virtual_hosts:
            - name: counters
              domains: ["*"]
              routes:
              - match: {path: /stats/prometheus}
                route: {cluster: admin}
          http_filters:
          - name: envoy.filters.http.health_check
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
              pass_through_mode: false
              headers: [{name: ":path", string_match: {exact: /ready}}]
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  - name: clients
    address: {socket_address: {address: 0.0.0.0, port_value: {{ include "pointsman.listenerPort" . }}}}
    per_connection_buffer_limit_bytes: 65536
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          server_header_transformation: PASS_THROUGH
          use_remote_address: true
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
          common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}
          http2_protocol_options: {max_concurrent_streams: 100, initial_stream_window_size: 65536, initial_connection_window_size: 1048576}
          # Nobody but the picker names the destination.
          early_header_mutation_extensions:
          - name: envoy.http.early_header_mutation.header_mutation
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
              mutations:
              - remove: x-gateway-destination-endpoint
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format:
                json_format:
                  start_time: "%START_TIME%"
                  method: "%REQ(:METHOD)%"
                  path: "%PATH(NQ)%"
                  status: "%RESPONSE_CODE%"
                  flags: "%RESPONSE_FLAGS%"
                  endpoint: "%UPSTREAM_HOST%"
                  duration_ms: "%DURATION%"
                  request_id: "%REQ(X-REQUEST-ID)%"
          route_config:
            virtual_hosts:
            - name: pool
              domains: ["*"]
              routes:
              - match: {prefix: /}
                # Answers take as long as they take.
                route: {cluster: pool, timeout: 0s, idle_timeout: 3600s, upgrade_configs: [{upgrade_type: websocket}]}
          http_filters:
          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              failure_mode_allow: {{ include "pointsman.failOpen" . }}
              grpc_service: {envoy_grpc: {cluster_name: picker, authority: {{ $service | ternary $host "localhost" }}}, timeout: 10s}
              # Waiting for room in the pool is the picker's business.
              message_timeout: 1000s
              processing_mode: {request_header_mode: SEND, response_header_mode: SEND, request_body_mode: FULL_DUPLEX_STREAMED, response_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND, response_trailer_mode: SEND}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
              suppress_envoy_headers: true
  clusters:
  - name: admin
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: admin
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 19000}}}
  - name: pool
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    connect_timeout: 10s
    circuit_breakers: {thresholds: [{max_connections: 40000, max_pending_requests: 40000, max_requests: 40000}]}
    original_dst_lb_config: {use_http_header: true, http_header_name: x-gateway-destination-endpoint}
  - name: picker
    type: {{ $service | ternary "STRICT_DNS" "STATIC" }}
    lb_policy: LEAST_REQUEST
    connect_timeout: 5s
    circuit_breakers: {thresholds: [{max_connections: 40000, max_pending_requests: 40000, max_requests: 40000}]}
    {{- if not $service }}
    # Beside it there is no Service that would leave out a picker that is not ready.
    health_checks:
    - timeout: 2s
      interval: 10s
      no_traffic_interval: 2s
      unhealthy_threshold: 3
      healthy_threshold: 1
      grpc_health_check: {service_name: envoy.service.ext_proc.v3.ExternalProcessor}
    {{- end }}
    {{- if $secure }}
    # The picker makes its certificate itself, so there is nothing to check it against.
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: {alpn_protocols: [h2]}
    {{- end }}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {initial_stream_window_size: 1048576, initial_connection_window_size: 16777216}}
    load_assignment:
      cluster_name: picker
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: {socket_address: {address: {{ $service | ternary $host "127.0.0.1" }}, port_value: {{ $service | ternary (int .Values.router.epp.extProcPort) (include "pointsman.grpcPort" . | int) }}}}
{{- end -}}
