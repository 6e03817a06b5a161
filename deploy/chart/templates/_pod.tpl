{{/*
The pod of every workload. Takes a dict: root, args, claim (name of the volume's claim; empty where a StatefulSet
brings it), hostname (part of an audit log's identity; empty where the workload gives a steady one), serves,
restartPolicy.
*/}}
{{- define "rotator.pod" -}}
{{- $root := .root -}}
{{- $values := $root.Values -}}
{{- $postgresql := eq $values.journal.type "postgresql" -}}
metadata:
  labels:
    {{- include "rotator.selector" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- with .hostname }}
  hostname: {{ . }}
  {{- end }}
  serviceAccountName: {{ include "rotator.serviceAccount" $root }}
  # Where there are consumers the pod has a token of its own below; one that Kubernetes mounts by itself is accepted
  # for a year.
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $values.settings.graceSeconds 10 }}
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile:
      type: RuntimeDefault
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: rotator
      image: {{ $values.image.repository }}{{ if $values.image.digest }}@{{ $values.image.digest }}{{ else }}:{{ default $root.Chart.AppVersion $values.image.tag }}{{ end }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      env:
        - name: LETTERMINT_TEAM_TOKEN_FILE
          value: /run/secrets/rotator/{{ $values.credentials.teamToken }}
        {{- with $values.credentials.auditKey }}
        - name: ROTATOR_AUDIT_KEY_FILE
          value: /run/secrets/rotator/{{ . }}
        {{- end }}
        - name: ROTATOR_AUDIT_LOG
          value: /var/lib/rotator/audit.jsonl
        {{- if $postgresql }}
        # The image's own setting is a SQLite journal.
        - name: ROTATOR_JOURNAL
          value: ""
        - name: ROTATOR_JOURNAL_FILE
          value: /run/secrets/rotator/{{ $values.journal.postgresql.urlKey }}
        {{- else }}
        - name: ROTATOR_JOURNAL
          value: sqlite:////var/lib/rotator/journal.db
        {{- end }}
        - name: ROTATOR_POLICIES
          value: /etc/rotator/policies
        - name: ROTATOR_ROTATE_LIMIT
          value: {{ $values.settings.rotateLimit | quote }}
        - name: ROTATOR_LOG_LEVEL
          value: {{ $values.settings.logLevel }}
        - name: ROTATOR_LOG_FORMAT
          value: json
        {{- if .serves }}
        # Reachable for probes and scrapes; status page and API ask for the token.
        - name: ROTATOR_LISTEN
          value: ":8080"
        - name: ROTATOR_API_TOKEN_FILE
          value: /run/secrets/rotator/{{ $values.credentials.apiToken }}
        - name: ROTATOR_GRACE
          value: {{ $values.settings.graceSeconds }}s
        {{- end }}
        {{- if $values.vault.enabled }}
        - name: VAULT_ADDR
          value: {{ $values.vault.address | quote }}
        - name: VAULT_ROLE
          value: {{ $values.vault.role | quote }}
        {{- with $values.vault.namespace }}
        - name: VAULT_NAMESPACE
          value: {{ . | quote }}
        {{- end }}
        {{- if $values.vault.caConfigMap }}
        - name: VAULT_CACERT
          value: /etc/rotator/vault-ca/ca.pem
        {{- end }}
        - name: ROTATOR_VAULT_AUTH
          value: kubernetes
        - name: ROTATOR_VAULT_AUTH_MOUNT
          value: {{ $values.vault.authMount | quote }}
        - name: ROTATOR_VAULT_JWT_FILE
          value: /run/secrets/vault/token
        {{- end }}
        {{- with .env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- if .serves }}
      ports:
        - name: http
          containerPort: 8080
          protocol: TCP
      # Both answer without a network; a store that is away must not restart a process in mid-rotation.
      startupProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: {path: /healthz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        - name: state
          mountPath: /var/lib/rotator
        - name: policies
          mountPath: /etc/rotator/policies
          readOnly: true
        # As a folder: a credential that is replaced appears in the running pod.
        - name: credentials
          mountPath: /run/secrets/rotator
          readOnly: true
        - name: tmp
          mountPath: /tmp
        {{- if $values.consumers }}
        - name: kubernetes-token
          mountPath: /var/run/secrets/kubernetes.io/serviceaccount
          readOnly: true
        {{- end }}
        {{- if $values.vault.enabled }}
        - name: vault-token
          mountPath: /run/secrets/vault
          readOnly: true
        {{- if $values.vault.caConfigMap }}
        - name: vault-ca
          mountPath: /etc/rotator/vault-ca
          readOnly: true
        {{- end }}
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- with .claim }}
    - name: state
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
    - name: policies
      configMap:
        name: {{ include "rotator.policies" $root }}
    - name: credentials
      secret:
        secretName: {{ $values.credentials.secret }}
        # 0440
        defaultMode: 288
    - name: tmp
      emptyDir:
        medium: Memory
        sizeLimit: 64Mi
    {{- if $values.consumers }}
    - name: kubernetes-token
      projected:
        # 0440
        defaultMode: 288
        sources:
          - serviceAccountToken:
              path: token
              expirationSeconds: 3600
          - configMap:
              name: kube-root-ca.crt
              items:
                - key: ca.crt
                  path: ca.crt
          - downwardAPI:
              items:
                - path: namespace
                  fieldRef:
                    apiVersion: v1
                    fieldPath: metadata.namespace
    {{- end }}
    {{- if $values.vault.enabled }}
    - name: vault-token
      projected:
        # 0440
        defaultMode: 288
        sources:
          - serviceAccountToken:
              path: token
              audience: {{ $values.vault.audience }}
              expirationSeconds: 600
    {{- with $values.vault.caConfigMap }}
    - name: vault-ca
      configMap:
        name: {{ . }}
    {{- end }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* A claim for a journal or an audit log. Takes a dict: root. */}}
{{- define "rotator.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .root.Values.persistence.storageClassName }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .root.Values.persistence.size }}
{{- end }}

{{/* The job of `run` and of an emergency: ended for good where a person has to look, tried again otherwise. */}}
{{- define "rotator.job" -}}
backoffLimit: 2
activeDeadlineSeconds: 3300
ttlSecondsAfterFinished: 604800
podFailurePolicy:
  rules:
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    - action: FailJob
      onExitCodes:
        containerName: rotator
        operator: In
        values: [1, 2, 3, 4, 5]
template:
  {{- include "rotator.pod" . | nindent 2 }}
{{- end }}
