{{/* The energy exporter's settings: each is an environment variable of `joulery exporter energy`. */}}
{{- define "joulery.environment" -}}
- name: JOULERY_LISTEN
  value: {{ printf ":%d" (int .Values.port) | quote }}
- name: JOULERY_INTERVAL_S
  value: {{ .Values.intervalSeconds | toString | quote }}
- name: JOULERY_RETENTION_S
  value: {{ .Values.retentionSeconds | toString | quote }}
- name: JOULERY_IDLE_POLICY
  value: {{ .Values.idlePolicy }}
- name: JOULERY_LOG_FORMAT
  value: {{ .Values.log.format }}
- name: JOULERY_LOG_LEVEL
  value: {{ .Values.log.level }}
- name: JOULERY_SYSFS
  value: /host/sys
- name: JOULERY_PROCFS
  value: /host/proc
- name: JOULERY_CGROUPFS
  value: /host/cgroup
- name: JOULERY_POD_LOGS
  value: /var/log/pods
- name: JOULERY_CONTAINER_LOGS
  value: /var/log/containers
- name: JOULERY_POD_RESOURCES
  value: /var/lib/kubelet/pod-resources/kubelet.sock
- name: JOULERY_NODE
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: JOULERY_POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
{{- if include "joulery.webConfigSecret" . }}
- name: JOULERY_WEB_CONFIG
  value: /etc/joulery/web/web.yml
{{- end }}
{{- if .Values.otlp.enabled }}
- name: JOULERY_OTLP
  value: "1"
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.otlp.endpoint | quote }}
{{- end }}
{{- if .Values.gpu.nvidia }}
- name: NVIDIA_VISIBLE_DEVICES
  value: all
- name: NVIDIA_DRIVER_CAPABILITIES
  value: utility
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Where the host is in the container. A read-only mount leaves file systems mounted below it writable
where `recursiveReadOnly` does not reach: before Kubernetes 1.30, old kernels. So the writable ones
below the real /sys are covered: control groups by their own read-only mount, the kernel's debug
and trace files by an empty folder. What this cannot cover are the hierarchies of version 1 of
control groups, each a mount of its own. A sysfs of another place may lack the folders to cover.
*/}}
{{- define "joulery.mounts" -}}
- name: sys
  mountPath: /host/sys
  {{- include "joulery.readOnly" . | nindent 2 }}
{{- if eq .Values.hostPaths.sys "/sys" }}
- name: cgroup
  mountPath: /host/sys/fs/cgroup
  {{- include "joulery.readOnly" . | nindent 2 }}
- name: nothing
  mountPath: /host/sys/kernel
  readOnly: true
{{- end }}
- name: cgroup
  mountPath: /host/cgroup
  {{- include "joulery.readOnly" . | nindent 2 }}
- name: proc
  mountPath: /host/proc
  {{- include "joulery.readOnly" . | nindent 2 }}
- name: pod-logs
  mountPath: /var/log/pods
  {{- include "joulery.readOnly" . | nindent 2 }}
- name: container-logs
  mountPath: /var/log/containers
  {{- include "joulery.readOnly" . | nindent 2 }}
# The folder, not the socket: the kubelet makes a new socket when it restarts.
- name: pod-resources
  mountPath: /var/lib/kubelet/pod-resources
  {{- include "joulery.readOnly" . | nindent 2 }}
- name: tmp
  mountPath: /tmp
{{- include "joulery.webMounts" . }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The web configuration and its certificate, in both containers. */}}
{{- define "joulery.webMounts" -}}
{{- if include "joulery.webConfigSecret" . }}
- name: web-config
  mountPath: /etc/joulery/web
  readOnly: true
{{- end }}
{{- if .Values.webConfig.tlsSecret }}
- name: tls
  mountPath: /etc/joulery/tls
  readOnly: true
{{- end }}
{{- end }}

{{/* A folder of the host by its volume's name and path; nobody checks that it is there. */}}
{{- define "joulery.hostFolder" -}}
- name: {{ .name }}
  hostPath:
    path: {{ .path }}
    type: ""
{{ end }}

{{- define "joulery.volumes" -}}
{{- with .Values.hostPaths }}
{{- include "joulery.hostFolder" (dict "name" "sys" "path" .sys) }}
{{- include "joulery.hostFolder" (dict "name" "cgroup" "path" .cgroup) }}
{{- include "joulery.hostFolder" (dict "name" "proc" "path" .proc) }}
{{- include "joulery.hostFolder" (dict "name" "pod-logs" "path" .podLogs) }}
{{- include "joulery.hostFolder" (dict "name" "container-logs" "path" .containerLogs) }}
{{- end }}
{{- include "joulery.hostFolder" (dict "name" "pod-resources" "path" (printf "%s/pod-resources" (trimSuffix "/" .Values.kubelet.rootDir))) -}}
{{- if eq .Values.hostPaths.sys "/sys" -}}
- name: nothing
  emptyDir:
    sizeLimit: 1Mi
{{ end -}}
- name: tmp
  emptyDir:
    sizeLimit: 16Mi
{{- with include "joulery.webConfigSecret" . }}
- name: web-config
  secret:
    secretName: {{ . }}
    defaultMode: 0400
    items:
      - key: {{ empty $.Values.webConfig.existingSecret | ternary "web.yml" $.Values.webConfig.key }}
        path: web.yml
{{- end }}
{{- with .Values.webConfig.tlsSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0400
{{- end }}
{{- if .Values.services.enabled }}
{{ include "joulery.services.volumes" . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
