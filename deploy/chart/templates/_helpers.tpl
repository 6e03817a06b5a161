{{- define "rotator.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-rotator" .Release.Name) (contains "rotator" .Release.Name) -}}
{{- default $name .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "rotator.selector" -}}
app.kubernetes.io/name: rotator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rotator.labels" -}}
{{ include "rotator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "rotator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "rotator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "rotator.policies" -}}
{{- default (printf "%s-policies" (include "rotator.fullname" .)) .Values.existingPolicies -}}
{{- end }}

{{/* What no schema says in words. */}}
{{- define "rotator.check" -}}
{{- $sqlite := eq .Values.journal.type "sqlite" -}}
{{- if and $sqlite (gt (int .Values.replicaCount) 1) -}}
{{- fail (printf "replicaCount is %d, and a SQLite journal serves one process: set journal.type to postgresql, or replicaCount to 1" (int .Values.replicaCount)) -}}
{{- end -}}
{{- if and (eq .Values.mode "cron") (gt (int .Values.replicaCount) 1) -}}
{{- fail "replicaCount goes with mode daemon; mode cron starts one job at a time" -}}
{{- end -}}
{{- if and (not $sqlite) .Values.persistence.existingClaim -}}
{{- fail "persistence.existingClaim goes with a SQLite journal; with postgresql each process has a claim of its own for its audit log" -}}
{{- end -}}
{{- if and (not $sqlite) (not .Values.credentials.auditKey) -}}
{{- fail "credentials.auditKey is needed with postgresql: all processes share one audit key, and none is made" -}}
{{- end -}}
{{- if and .Values.monitoring.podMonitor .Values.monitoring.serviceMonitor -}}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor would scrape everything twice: set one of them" -}}
{{- end -}}
{{- if and (eq .Values.mode "cron") (or .Values.monitoring.podMonitor .Values.monitoring.serviceMonitor) -}}
{{- fail "monitoring.podMonitor and monitoring.serviceMonitor go with mode daemon; nothing can be scraped between two runs of mode cron" -}}
{{- end -}}
{{- if and .Values.policies .Values.existingPolicies -}}
{{- fail "policies and existingPolicies are both set: set one of them" -}}
{{- end -}}
{{- if and .Values.vault.enabled (not .Values.vault.address) -}}
{{- fail "vault.address is needed where vault.enabled is true" -}}
{{- end -}}
{{- end }}
