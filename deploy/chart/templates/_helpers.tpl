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

{{/* Of a list its maps, as YAML; whatever has another shape is for rotator to explain, with file and line. */}}
{{- define "rotator.maps" -}}
{{- $maps := list -}}
{{- if kindIs "slice" . -}}
{{- range . -}}
{{- if kindIs "map" . -}}
{{- $maps = append $maps . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $maps -}}
{{- end }}

{{/*
Refuses rights for what no policy names, and consumers that policies name and nobody gave a right for. The Role is
made from `consumers` and not from the policies: who may only write policies gets no right by that. Policies of an
existing ConfigMap are not seen.
*/}}
{{- define "rotator.check-consumers" -}}
{{- $granted := list -}}
{{- range .Values.consumers -}}
{{- $granted = append $granted (printf "%s %s/%s" .kind .namespace .name) -}}
{{- end -}}
{{- $named := list -}}
{{- range $file, $text := .Values.policies -}}
{{- $document := fromYaml $text -}}
{{- if hasKey $document "Error" -}}
{{- fail (printf "policies: %s is no YAML with policies in it: %s" $file $document.Error) -}}
{{- end -}}
{{- range $policy := include "rotator.maps" $document.policies | fromYamlArray -}}
{{- range $consumer := include "rotator.maps" $policy.consumers | fromYamlArray -}}
{{- if ne (toString $consumer.type) "webhook" -}}
{{- $kind := ternary "ExternalSecret" (toString $consumer.kind) (eq (toString $consumer.type) "external-secret") -}}
{{- $one := printf "%s %s/%s" $kind (toString $consumer.namespace) (toString $consumer.name) -}}
{{- $named = append $named $one -}}
{{- if not (has $one $granted) -}}
{{- fail (printf "policies: %s tells %s, which `consumers` does not name: add it there, which lets rotator get and patch it" $file $one) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $granted -}}
{{- if and $.Values.policies (not (has . $named)) -}}
{{- fail (printf "consumers: no policy tells %s: take it out, or name it among the consumers of a policy" .) -}}
{{- end -}}
{{- end -}}
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
{{- include "rotator.check-consumers" . -}}
{{- end }}
