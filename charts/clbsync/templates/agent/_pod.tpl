{{/* What the agent's pod and the pod that tests a node have in common. */}}
{{- define "clbsync.agent.pod" -}}
serviceAccountName: {{ include "clbsync.agent.account" . | toYaml }}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
securityContext:
  seccompProfile: {type: RuntimeDefault}
volumes:
# The lock that all users of iptables-legacy on the node share.
- name: xtables-lock
  hostPath: {path: /run/xtables.lock, type: FileOrCreate}
{{- if .Values.agent.localhostNodePorts }}
# net.ipv4.conf.all.route_localnet has to be written, and /proc/sys is read-only in a container without privileges.
- name: sysctl-net
  hostPath: {path: /proc/sys/net, type: Directory}
{{- end }}
{{- end -}}

{{- define "clbsync.agent.container" -}}
{{- $a := .Values.agent -}}
image: {{ include "clbsync.image" (list $ $a.image) | quote }}
imagePullPolicy: {{ $a.image.pullPolicy }}
env:
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- with $a.extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
securityContext:
  # Rules, address sets and UDP flows take NET_ADMIN; iptables-legacy takes NET_RAW. Kubernetes gives capabilities to root alone.
  runAsUser: 0
  runAsGroup: 0
  capabilities: {drop: [ALL], add: [NET_ADMIN, NET_RAW]}
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
volumeMounts:
- {name: xtables-lock, mountPath: /run/xtables.lock}
{{- if $a.localhostNodePorts }}
- {name: sysctl-net, mountPath: /host/proc/sys/net}
{{- end }}
{{- end -}}

{{/* Flags of run, check and explain: a list. */}}
{{- define "clbsync.agent.flags" -}}
{{- $a := .Values.agent -}}
- --pods={{ $a.pods }}
- --masquerade-bit={{ $a.masqueradeBit }}
{{- with $a.iptables }}
- --iptables={{ . }}
{{- end }}
{{- if $a.localhostNodePorts }}
- --localhost-nodeports
{{- end }}
{{- if $a.readinessGate }}
- --readiness-gate
{{- end }}
{{- end -}}
