{{/* Names, labels, images, and the rules of the controller's roles. */}}

{{- define "midship.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "midship.fullname" -}}
{{- $name := include "midship.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* For objects outside the release's namespace, where several releases meet. */}}
{{- define "midship.globalName" -}}
{{- printf "%s:%s" .Release.Namespace (include "midship.fullname" .) -}}
{{- end -}}

{{- define "midship.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "midship.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the ServiceAccount to use, since serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "midship.selector" -}}
app.kubernetes.io/name: {{ include "midship.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "midship.labels" -}}
{{ include "midship.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- with .Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Call with (list $ labels): the chart's own and these, each once. */}}
{{- define "midship.labelsWith" -}}
{{- toYaml (merge (deepCopy (default dict (index . 1))) (include "midship.labels" (index . 0) | fromYaml)) -}}
{{- end -}}

{{/* Call with (list $ image). */}}
{{- define "midship.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "midship.agentImage" -}}
{{- $own := .Values.agentImage -}}
{{- if or $own.repository $own.tag $own.digest -}}
{{- include "midship.image" (list . (merge (dict "repository" (default .Values.image.repository $own.repository)) $own)) -}}
{{- else -}}
{{- include "midship.image" (list . .Values.image) -}}
{{- end -}}
{{- end -}}

{{- define "midship.subject" -}}
- kind: ServiceAccount
  name: {{ include "midship.serviceAccount" . | quote }}
  namespace: {{ .Release.Namespace | quote }}
{{- end -}}

{{/* What the controller may do in the namespaces it works in. It can give agents no more than it has here. */}}
{{- define "midship.rules" -}}
- apiGroups: [midship.dev]
  resources: [backuppolicies, backuprepositories, backups, components, gitsources, instances, operations, podsets]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [midship.dev]
  resources:
    - backuppolicies/status
    - backuprepositories/status
    - backups/status
    - components/status
    - gitsources/status
    - instances/status
    - operations/status
    - podsets/status
  verbs: [get, update, patch]
- apiGroups: [midship.dev]
  resources:
    - backuppolicies/finalizers
    - backuprepositories/finalizers
    - backups/finalizers
    - components/finalizers
    - gitsources/finalizers
    - instances/finalizers
    - operations/finalizers
    - podsets/finalizers
  verbs: [update]
# the pods of instances and what they need
- apiGroups: [""]
  resources: [pods, persistentvolumeclaims, services, configmaps, secrets, serviceaccounts]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [pods/resize]
  verbs: [update, patch]
# templates of pods that were good, to go back to
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
# roles of the agents
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, update, patch, delete]
# leadership of controllers and of exclusive roles
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.integrations.prometheusOperator }}
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors, prometheusrules, servicemonitors]
  verbs: [get, list, watch, create, update, patch, delete]
{{- end }}
{{- if .Values.integrations.certManager }}
- apiGroups: [cert-manager.io]
  resources: [certificates]
  verbs: [get, list, watch, create, update, patch, delete]
{{- end }}
{{- /* kinds that packages may add objects of */}}
{{- range $value, $groups := dict
  "ingress" (dict "networking.k8s.io" (list "ingresses"))
  "gateway" (dict "gateway.networking.k8s.io" (list "gateways" "grpcroutes" "httproutes" "tcproutes" "tlsroutes"))
  "jobs" (dict "batch" (list "cronjobs" "jobs"))
  "autoscaling" (dict "autoscaling" (list "horizontalpodautoscalers") "autoscaling.k8s.io" (list "verticalpodautoscalers"))
}}
{{- if index $.Values.integrations $value }}
{{- range $group, $resources := $groups }}
- apiGroups: [{{ $group }}]
  resources: [{{ join ", " $resources }}]
  verbs: [get, list, watch, create, update, patch, delete]
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What belongs to the cluster as a whole, needed in either mode. */}}
{{- define "midship.clusterRules" -}}
- apiGroups: [midship.dev]
  resources: [extensions]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [midship.dev]
  resources: [extensions/status]
  verbs: [get, update, patch]
- apiGroups: [midship.dev]
  resources: [extensions/finalizers]
  verbs: [update]
# which optional kinds are installed
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [get, list, watch]
# the UID of the cluster, which tells its backups from those of others in the same repository
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
# who asks for the metrics, and whether they may
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end -}}

{{/* What is there: whether a volume can grow, which zones nodes are in. */}}
{{- define "midship.inventoryRules" -}}
- apiGroups: [""]
  resources: [nodes, persistentvolumes, namespaces]
  verbs: [get, list, watch]
- apiGroups: [storage.k8s.io]
  resources: [storageclasses]
  verbs: [get, list, watch]
{{- end -}}
