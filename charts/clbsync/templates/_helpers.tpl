{{/*
What names begin with. 42 characters leave room for the longest ending of a name that may have 63 (-controller-uninstall). Of what is
longer, the digest keeps two releases apart that differ behind that.
*/}}
{{- define "clbsync.fullname" -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- if gt (len $full) 42 -}}
{{- $full = printf "%s-%s" (regexReplaceAll "[-.]+$" ($full | trunc 33) "") (sha256sum $full | trunc 8) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{- define "clbsync.controller" -}}{{ include "clbsync.fullname" . }}-controller{{- end -}}
{{/* The name of a Service may have no dots, and has to begin with a letter; that of a release may be 1.2. */}}
{{- define "clbsync.controller.service" -}}
{{- $name := printf "%s-metrics" (include "clbsync.controller" .) | replace "." "-" -}}
{{- ternary $name (printf "s-%s" $name) (regexMatch "^[a-z]" $name) -}}
{{- end -}}
{{- define "clbsync.agent" -}}{{ include "clbsync.fullname" . }}-agent{{- end -}}

{{- define "clbsync.controller.account" -}}
{{- .Values.controller.serviceAccount.name | default (ternary (include "clbsync.controller" .) "default" .Values.controller.serviceAccount.create) -}}
{{- end -}}
{{- define "clbsync.agent.account" -}}
{{- .Values.agent.serviceAccount.name | default (ternary (include "clbsync.agent" .) "default" .Values.agent.serviceAccount.create) -}}
{{- end -}}

{{/* Names, namespaces and labels go through toYaml, which quotes a text only if it has to be: that of the release 123 is no number. */}}

{{/* What selects the pods of a component: (list $ "controller"). It must never change, since selectors cannot. */}}
{{- define "clbsync.selector" -}}
{{- $top := index . 0 -}}
app.kubernetes.io/name: {{ default $top.Chart.Name $top.Values.nameOverride | trunc 63 | trimSuffix "-" | toYaml }}
app.kubernetes.io/instance: {{ $top.Release.Name | toYaml }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* metadata of an object: (list $ "component" "name" (dict labels) (dict annotations)); without namespace. What the chart says of itself stands last: labels that its selectors need cannot be taken away. */}}
{{- define "clbsync.meta" -}}
{{- $top := index . 0 -}}
{{- $labels := dict -}}
{{- if gt (len .) 3 }}{{- $labels = deepCopy (default dict (index . 3)) }}{{- end }}
{{- $annotations := dict -}}
{{- if gt (len .) 4 }}{{- $annotations = deepCopy (default dict (index . 4)) }}{{- end }}
{{- $fixed := include "clbsync.selector" (list $top (index . 1)) | fromYaml -}}
{{- $fixed = merge $fixed (dict "app.kubernetes.io/managed-by" $top.Release.Service "app.kubernetes.io/version" $top.Chart.AppVersion "app.kubernetes.io/part-of" "clbsync" "helm.sh/chart" (printf "%s-%s" $top.Chart.Name $top.Chart.Version | replace "+" "_" | trunc 63)) -}}
name: {{ index . 2 | toYaml }}
labels:
  {{- merge $fixed $labels (deepCopy (default dict $top.Values.commonLabels)) | toYaml | nindent 2 }}
{{- with merge $annotations (deepCopy (default dict $top.Values.commonAnnotations)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* labels and annotations of a pod: (list $ "component" (dict labels) (dict annotations)) */}}
{{- define "clbsync.podmeta" -}}
{{- $top := index . 0 -}}
{{- $fixed := include "clbsync.selector" (list $top (index . 1)) | fromYaml -}}
labels:
  {{- merge $fixed (deepCopy (default dict (index . 2))) (deepCopy (default dict $top.Values.commonLabels)) | toYaml | nindent 2 }}
{{- with merge (deepCopy (default dict (index . 3))) (deepCopy (default dict $top.Values.commonAnnotations)) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* image: (list $ .Values.controller.image). A digest decides; the tag beside it is for people. */}}
{{- define "clbsync.image" -}}
{{- $top := index . 0 -}}{{- $i := index . 1 -}}
{{- $tag := default $top.Chart.AppVersion $i.tag -}}
{{- if $i.digest -}}{{ $i.repository }}@{{ $i.digest }}{{- else -}}{{ $i.repository }}:{{ $tag }}{{- end -}}
{{- end -}}

{{/* The file of --cloud-config. It holds no credentials: validate.yaml and the schema see to it. */}}
{{- define "clbsync.cloudconfig" -}}
{{- $c := deepCopy (default dict .Values.cloudConfig) -}}
{{- if and .Values.agent.enabled .Values.agent.readinessGate (not (hasKey (default dict $c.readinessGate) "nodeAgent")) -}}
{{- $_ := set $c "readinessGate" (merge (dict "nodeAgent" true) (default dict $c.readinessGate)) -}}
{{- end -}}
{{- if has .Values.credentials.source (list "values" "existingSecret") -}}
{{- $_ := set $c "credentials" (dict "directory" "/etc/clbsync/credentials") -}}
{{- end -}}
{{- merge (dict "apiVersion" "clbsync.io/v1alpha1" "kind" "CloudConfig") $c | toYaml -}}
{{- end -}}

{{/* What runs, as the controller names it. */}}
{{- define "clbsync.runs" -}}{{- if has (index . 1) (index . 0).Values.controller.controllers -}}true{{- end -}}{{- end -}}
{{- define "clbsync.nodes" -}}{{- if or (include "clbsync.runs" (list . "cloud-node-controller")) (include "clbsync.runs" (list . "cloud-node-lifecycle-controller")) -}}true{{- end -}}{{- end -}}

{{/* The readiness gate is worked on unless the cloud config says otherwise. */}}
{{- define "clbsync.gate" -}}
{{- if and (include "clbsync.runs" (list . "service-lb-controller")) (ne (toString (dig "readinessGate" "enabled" true (default dict .Values.cloudConfig))) "false") -}}true{{- end -}}
{{- end -}}

{{/*
Whose a CRD is that is there already: "" if it is this release's, or there is none. Helm takes over what is there only if a label and
two annotations say that it is this release's, and refuses the whole installation else.
*/}}
{{- define "clbsync.crd.owner" -}}
{{- $top := index . 0 -}}
{{- with lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (index . 1) -}}
{{- $annotations := default dict .metadata.annotations -}}
{{- $name := get $annotations "meta.helm.sh/release-name" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" -}}
{{- if or (not $name) (ne (get (default dict .metadata.labels) "app.kubernetes.io/managed-by") "Helm") -}}
somebody who did not install it with Helm
{{- else if or (ne $name $top.Release.Name) (ne $namespace $top.Release.Namespace) -}}
the release {{ $name }} in the namespace {{ $namespace }}
{{- end -}}
{{- end -}}
{{- end -}}
