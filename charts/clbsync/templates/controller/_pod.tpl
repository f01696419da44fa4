{{/* What the controller's pod and the pod that tests it have in common. */}}
{{- define "clbsync.controller.pod" -}}
{{- $c := .Values.controller -}}
serviceAccountName: {{ include "clbsync.controller.account" . | toYaml }}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if $c.hostNetwork }}
hostNetwork: true
{{- end }}
dnsPolicy: {{ $c.dnsPolicy }}
{{- with $c.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
terminationGracePeriodSeconds: {{ $c.terminationGracePeriodSeconds }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
nodeSelector:
  {{- merge (dict "kubernetes.io/os" "linux") (deepCopy (default dict $c.nodeSelector)) | toYaml | nindent 2 }}
{{- $tolerations := default list $c.tolerations }}
{{- if $c.hostNetwork }}
{{- /* A network plugin that waits for the node to be initialized leaves it not ready, and hostNetwork is there for just that. */}}
{{- range list "node.kubernetes.io/not-ready" "node.kubernetes.io/network-unavailable" }}
{{- $tolerations = append $tolerations (dict "key" . "operator" "Exists" "effect" "NoSchedule") }}
{{- end }}
{{- end }}
{{- with $tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
- name: config
  configMap:
    name: {{ include "clbsync.controller" . }}
{{- if has .Values.credentials.source (list "values" "existingSecret") }}
- name: credentials
  secret:
    {{- if eq .Values.credentials.source "values" }}
    secretName: {{ include "clbsync.controller" . }}-credentials
    {{- else }}
    {{- with .Values.credentials.existingSecret }}
    secretName: {{ .name | toYaml }}
    items:
    - {key: {{ .secretIDKey | quote }}, path: secretID}
    - {key: {{ .secretKeyKey | quote }}, path: secretKey}
    {{- with .tokenKey }}
    - {key: {{ . | quote }}, path: token}
    {{- end }}
    {{- end }}
    {{- end }}
    defaultMode: 0440
{{- end }}
{{- if and (eq .Values.credentials.source "oidc") .Values.credentials.oidc.providerID }}
- name: oidc-token
  projected:
    defaultMode: 0440
    sources:
    - serviceAccountToken:
        path: token
        audience: {{ .Values.credentials.oidc.audience | quote }}
        expirationSeconds: {{ .Values.credentials.oidc.expirationSeconds | int64 }}
{{- end }}
{{- end -}}

{{- define "clbsync.controller.container" -}}
{{- $c := .Values.controller -}}
image: {{ include "clbsync.image" (list $ $c.image) | quote }}
imagePullPolicy: {{ $c.image.pullPolicy }}
{{- $oidc := and (eq .Values.credentials.source "oidc") .Values.credentials.oidc.providerID }}
{{- if or $c.extraEnv $oidc }}
env:
{{- if $oidc }}
- {name: TKE_ROLE_ARN, value: {{ .Values.credentials.oidc.roleARN | quote }}}
- {name: TKE_PROVIDER_ID, value: {{ .Values.credentials.oidc.providerID | quote }}}
- {name: TKE_WEB_IDENTITY_TOKEN_FILE, value: /var/run/secrets/clbsync/token}
{{- end }}
{{- with $c.extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
- {name: config, mountPath: /etc/clbsync/config, readOnly: true}
{{- if has .Values.credentials.source (list "values" "existingSecret") }}
- {name: credentials, mountPath: /etc/clbsync/credentials, readOnly: true}
{{- end }}
{{- if $oidc }}
- {name: oidc-token, mountPath: /var/run/secrets/clbsync, readOnly: true}
{{- end }}
{{- end -}}

{{/* data of the Secret that the chart makes. */}}
{{- define "clbsync.credentials" -}}
secretID: {{ .Values.credentials.secretID | b64enc | toYaml }}
secretKey: {{ .Values.credentials.secretKey | b64enc | toYaml }}
{{- with .Values.credentials.token }}
token: {{ . | b64enc | toYaml }}
{{- end }}
{{- end -}}

{{/* Annotations of the ServiceAccount. TKE's pod identity webhook reads those of its own, mounts the token and sets the environment. */}}
{{- define "clbsync.controller.accountAnnotations" -}}
{{- $annotations := deepCopy (default dict .Values.controller.serviceAccount.annotations) -}}
{{- with .Values.credentials }}
{{- if and (eq .source "oidc") (not .oidc.providerID) }}
{{- $annotations = merge $annotations (dict "tke.cloud.tencent.com/role-arn" .oidc.roleARN "tke.cloud.tencent.com/audience" .oidc.audience "tke.cloud.tencent.com/token-expiration" (.oidc.expirationSeconds | int64 | toString)) }}
{{- end }}
{{- end }}
{{- toYaml $annotations }}
{{- end -}}
