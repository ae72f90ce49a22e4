{{/*
Where the service tells what it does: by default to the exporter of its own node. The resource
attributes say which pod speaks; the exporter compares them with the address that it comes from.
*/}}
{{- define "joulery-service.environment" -}}
{{- $tells := ne .Values.telemetry.exporter "none" }}
{{- $pushes := eq .Values.telemetry.exporter "otlp" }}
{{- $traces := and .Values.telemetry.traces $tells }}
{{- range $name, $path := dict "HOST_IP" "status.hostIP" "NODE_NAME" "spec.nodeName" "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "POD_UID" "metadata.uid" }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $path }}
{{- end }}
- name: OTEL_METRICS_EXPORTER
  value: {{ .Values.telemetry.exporter }}
- name: OTEL_TRACES_EXPORTER
  value: {{ $traces | ternary "otlp" "none" }}
- name: OTEL_METRIC_EXPORT_INTERVAL
  value: {{ mulf 1000 .Values.telemetry.intervalSeconds | int | quote }}
{{- if or $pushes $traces }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.telemetry.endpoint | quote }}
{{- end }}
{{- if eq .Values.telemetry.exporter "prometheus" }}
- name: OTEL_EXPORTER_PROMETHEUS_HOST
  value: "0.0.0.0"
- name: OTEL_EXPORTER_PROMETHEUS_PORT
  value: {{ .Values.telemetry.port | quote }}
{{- end }}
- name: OTEL_SERVICE_NAME
  value: {{ include "joulery-service.fullname" . }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.pod.uid=$(POD_UID),k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE),k8s.node.name=$(NODE_NAME)
{{- if and .Values.telemetry.answersUrl $tells }}
- name: JOULERY_ANSWERS_URL
  value: {{ .Values.telemetry.answersUrl | quote }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What the service exporter reads about the pod; the live configuration is not told here. */}}
{{- define "joulery-service.annotations" -}}
{{- $prometheus := eq .Values.telemetry.exporter "prometheus" }}
joulery.io/scrape: {{ $prometheus | quote }}
{{- if $prometheus }}
joulery.io/dialect: joulery
joulery.io/port: {{ .Values.telemetry.port | quote }}
{{- end }}
{{- with .Values.annotations.model }}
joulery.io/model: {{ . | quote }}
{{- end }}
{{- with .Values.annotations.variant }}
joulery.io/variant: {{ . | quote }}
{{- end }}
{{- with .Values.annotations.golden }}
joulery.io/golden: {{ . | quote }}
{{- end }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* CPU and memory, and devices: those are asked for as a limit, for Kubernetes never shares them. */}}
{{- define "joulery-service.resources" -}}
{{- $resources := deepCopy (default dict .Values.resources) }}
{{- with .Values.accelerator }}
{{- if .resource }}
{{- $limits := default dict $resources.limits }}
{{- $_ := set $resources "limits" (set $limits .resource (toString .count)) }}
{{- end }}
{{- end }}
{{- with $resources }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* How the kubelet probes a path; `timing` may be empty. */}}
{{- define "joulery-service.probe" -}}
httpGet:
  path: {{ .path }}
  port: http
{{- with .timing }}
{{ toYaml . }}
{{- end }}
{{- end }}
