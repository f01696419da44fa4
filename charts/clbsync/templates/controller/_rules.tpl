{{/* Rules of the ClusterRole, by what runs. Each says who asks. */}}
{{- define "clbsync.controller.rules" }}
{{- $lb := include "clbsync.runs" (list . "service-lb-controller") }}
{{- if $lb }}
# service-lb-controller: what CLBs are made of.
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# service-lb-controller: address of the CLB, its ID and the finalizer that keeps a Service until its CLB is gone. All go through
# the subresource, so the spec of a Service cannot be changed with this.
- apiGroups: [""]
  resources: [services/status]
  verbs: [patch]
{{- if include "clbsync.gate" . }}
# service-lb-controller, for the readiness gate clbsync.io/target-health: pods that have it, and its condition.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
{{- end }}
# service-lb-controller: settings of listeners that Services name, and with the annotation tke-service-config-auto their making.
- apiGroups: [cloud.tencent.com]
  resources: [tkeserviceconfigs]
  verbs: [list, watch{{ if .Values.controller.tkeServiceConfig.auto }}, create, update, delete{{ end }}]
{{- if eq .Values.controller.certificates.access "cluster" }}
# service-lb-controller: certificates, which Services name. No list: names that are not known cannot be found out.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- end }}
{{- if include "clbsync.nodes" . }}
# Nodes are targets, and are looked up in CVM.
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
{{- else }}
# Nodes are targets.
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end }}
{{- if include "clbsync.runs" (list . "cloud-node-controller") }}
# cloud-node-controller: providerID, labels, and the end of the taint "uninitialized" of a new node (update); labels later on
# (patch); addresses (status).
- apiGroups: [""]
  resources: [nodes]
  verbs: [update, patch]
- apiGroups: [""]
  resources: [nodes/status]
  verbs: [patch]
{{- end }}
{{- if include "clbsync.runs" (list . "cloud-node-lifecycle-controller") }}
# cloud-node-lifecycle-controller: the taint of a node that is shut down, and the removal of one whose instance is gone.
- apiGroups: [""]
  resources: [nodes]
  verbs: [patch, delete]
{{- end }}
# All: Events of Services, Pods and Nodes, in the namespaces of those, and of the lease.
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.controller.metrics.enabled }}
# Whether somebody who asks for /metrics may have them.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}
{{- end -}}

{{- define "clbsync.controller.lease" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [clb-cloud-controller-manager]
  verbs: [get, update]
{{- end -}}
