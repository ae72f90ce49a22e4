{{/* The service exporter's settings: each is an environment variable of `joulery exporter services`. */}}
{{- define "joulery.services.environment" -}}
- name: JOULERY_SERVICE_LISTEN
  value: {{ printf ":%d" (int .Values.services.port) | quote }}
- name: JOULERY_OTLP_LISTEN
  value: {{ printf ":%d" (int .Values.services.otlpPort) | quote }}
- name: JOULERY_SCRAPE_INTERVAL_S
  value: {{ .Values.services.scrapeIntervalSeconds | toString | quote }}
- name: JOULERY_STORE
  value: /var/lib/joulery/answers.db
- name: JOULERY_PROBE_RATE_HZ
  value: {{ .Values.services.probe.rateHz | toString | quote }}
{{- if .Values.services.probe.goldenConfigMap }}
- name: JOULERY_GOLDEN
  value: /etc/joulery/golden
{{- end }}
- name: JOULERY_LOG_FORMAT
  value: {{ .Values.log.format }}
- name: JOULERY_LOG_LEVEL
  value: {{ .Values.log.level }}
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
{{- with .Values.services.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Nothing of the host, and what only this container has: the token, and a place for answers. */}}
{{- define "joulery.services.mounts" -}}
- name: api-token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
- name: answers
  mountPath: /var/lib/joulery
# Not the other container's: root there must not find links of ours.
- name: service-tmp
  mountPath: /tmp
{{- if .Values.services.probe.goldenConfigMap }}
- name: golden
  mountPath: /etc/joulery/golden
  readOnly: true
{{- end }}
{{- include "joulery.webMounts" . }}
{{- with .Values.services.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "joulery.services.volumes" -}}
# What Kubernetes would mount by itself, but into every container of the pod.
- name: api-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - {key: ca.crt, path: ca.crt}
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                apiVersion: v1
                fieldPath: metadata.namespace
- name: answers
  emptyDir:
    sizeLimit: {{ .Values.services.store.sizeLimit }}
- name: service-tmp
  emptyDir:
    sizeLimit: 16Mi
{{- with .Values.services.probe.goldenConfigMap }}
- name: golden
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}

{{/* The container itself: it satisfies the Pod Security level `restricted`. */}}
{{- define "joulery.services.container" -}}
- name: service
  image: {{ include "joulery.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [exporter, services]
  env:
    {{- include "joulery.services.environment" . | nindent 4 }}
  ports:
    - name: services
      containerPort: {{ .Values.services.port }}
    - name: otlp
      containerPort: {{ .Values.services.otlpPort }}
      {{- with .Values.services.otlpHostPort }}
      hostPort: {{ . }}
      {{- end }}
  startupProbe:
    {{- include "joulery.probe" (dict "root" . "port" "services" "path" "/healthz" "timing" .Values.probes.startup) | nindent 4 }}
  livenessProbe:
    {{- include "joulery.probe" (dict "root" . "port" "services" "path" "/healthz" "timing" .Values.probes.liveness) | nindent 4 }}
  readinessProbe:
    {{- include "joulery.probe" (dict "root" . "port" "services" "path" "/readyz" "timing" .Values.probes.readiness) | nindent 4 }}
  {{- with .Values.services.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    privileged: false
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
    seccompProfile:
      type: RuntimeDefault
  volumeMounts:
    {{- include "joulery.services.mounts" . | nindent 4 }}
{{- end }}

{{/* Cluster roles have no namespace, so that it is a part of their name. */}}
{{- define "joulery.services.role" -}}
{{- printf "%s-%s-pods" .Release.Namespace (include "joulery.fullname" .) }}
{{- end }}
