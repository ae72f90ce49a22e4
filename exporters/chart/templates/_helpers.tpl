{{/* The chart's name in labels. */}}
{{- define "joulery.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of the objects: release and chart, or the release alone when it holds the chart's name. */}}
{{- define "joulery.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $whole := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $whole .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What never changes over the life of a release: selectors of a DaemonSet cannot be altered. */}}
{{- define "joulery.selectorLabels" -}}
app.kubernetes.io/name: {{ include "joulery.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: energy-exporter
{{- end }}

{{- define "joulery.labels" -}}
{{ include "joulery.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "joulery.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- define "joulery.serviceAccountName" -}}
{{- default (.Values.serviceAccount.create | ternary (include "joulery.fullname" .) "default") .Values.serviceAccount.name }}
{{- end }}

{{/* The web configuration to write, as YAML; nothing where the chart writes none. */}}
{{- define "joulery.webConfig" -}}
{{- with .Values.webConfig }}
{{- if not .existingSecret }}
{{- $pair := dict "cert_file" "/etc/joulery/tls/tls.crt" "key_file" "/etc/joulery/tls/tls.key" }}
{{- $given := empty .tlsSecret | ternary dict (dict "tls_server_config" $pair) }}
{{- with mergeOverwrite $given (deepCopy .inline) }}
{{- toYaml . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Name of the Secret that holds the web configuration; nothing where there is none. */}}
{{- define "joulery.webConfigSecret" -}}
{{- if .Values.webConfig.existingSecret }}
{{- .Values.webConfig.existingSecret }}
{{- else if include "joulery.webConfig" . }}
{{- printf "%s-web-config" (include "joulery.fullname" . | trunc 52 | trimSuffix "-") }}
{{- end }}
{{- end }}

{{- define "joulery.scheme" -}}
{{- $written := include "joulery.webConfig" . | fromYaml }}
{{- or .Values.webConfig.tls $written.tls_server_config | empty | ternary "HTTP" "HTTPS" }}
{{- end }}

{{/* How the kubelet probes a path at a port; `root` is the chart's scope. */}}
{{- define "joulery.probe" -}}
{{- $written := include "joulery.webConfig" .root | fromYaml }}
{{- $asked := dig "tls_server_config" "client_auth_type" "" $written | hasPrefix "Require" }}
{{- if or .root.Values.webConfig.clientCertificates $asked -}}
tcpSocket:
  port: {{ .port }}
{{- else -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
  scheme: {{ include "joulery.scheme" .root }}
{{- end }}
{{- with .timing }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The rest of a read-only mount of the host, its inner mounts too where the cluster can do that. */}}
{{- define "joulery.readOnly" -}}
readOnly: true
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}
recursiveReadOnly: IfPossible
{{- end }}
{{- end }}

{{/* What a monitor says about its endpoints, whatever its kind. */}}
{{- define "joulery.endpoints" -}}
- port: metrics
  {{- include "joulery.endpoint" . | nindent 2 }}
{{- if .Values.services.enabled }}
- port: services
  {{- include "joulery.endpoint" . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What it says about each of them. */}}
{{- define "joulery.endpoint" -}}
path: /metrics
scheme: {{ include "joulery.scheme" . | lower }}
# Our namespace and pod labels tell whose energy it is, and must not become exported_pod.
honorLabels: true
{{- with .Values.monitors.interval }}
interval: {{ . }}
{{- end }}
{{- with .Values.monitors.scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .Values.monitors.tlsConfig }}
tlsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.monitors.basicAuth }}
basicAuth:
  {{- toYaml . | nindent 2 }}
{{- end }}
relabelings:
  - sourceLabels: [__meta_kubernetes_pod_node_name]
    targetLabel: node
{{- with .Values.monitors.relabelings }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.monitors.metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Something, where Services carry annotations for Prometheus. */}}
{{- define "joulery.annotated" -}}
{{- $monitored := or .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- and .Values.service.scrapeAnnotations (not $monitored) | ternary "yes" "" }}
{{- end }}

{{/* Those annotations, for a port; `root` is the chart's scope. */}}
{{- define "joulery.scrapeAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
prometheus.io/scheme: {{ include "joulery.scheme" .root | lower }}
{{- end }}

{{/* Where the pods of a node reach the service exporter of that node. */}}
{{- define "joulery.otlpService" -}}
{{- printf "%s-otlp" (include "joulery.fullname" . | trunc 58 | trimSuffix "-") }}
{{- end }}

{{/* Port of the OTLP collector: the one in its address, else its scheme's. */}}
{{- define "joulery.otlpPort" -}}
{{- $url := urlParse .Values.otlp.endpoint }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- default (eq $url.scheme "https" | ternary "443" "80") $port }}
{{- end }}

{{/* Values that contradict each other. */}}
{{- define "joulery.check" -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor.enabled and podMonitor.enabled: found both, expected one; each pod would be scraped twice" }}
{{- end }}
{{- if and .Values.webConfig.inline .Values.webConfig.existingSecret }}
{{- fail "webConfig.inline and webConfig.existingSecret: found both, expected one; the exporter reads one configuration" }}
{{- end }}
{{- if and .Values.otlp.enabled (not .Values.otlp.endpoint) }}
{{- fail "otlp.endpoint: found nothing, expected an address such as http://collector.observability:4318; or set otlp.enabled=false" }}
{{- end }}
{{- if and .Values.services.enabled .Values.rbac.create (not (or .Values.serviceAccount.create .Values.serviceAccount.name)) }}
{{- fail "serviceAccount.name: found nothing, expected the account that may look at pods; `default` is every pod's of the namespace. Or set rbac.create=false, or services.enabled=false" }}
{{- end }}
{{- if and .Values.services.enabled (ne 3 (list (int .Values.port) (int .Values.services.port) (int .Values.services.otlpPort) | uniq | len)) }}
{{- fail "port, services.port and services.otlpPort: found the same port twice, expected three ports; both containers share the pod's address" }}
{{- end }}
{{- end }}
