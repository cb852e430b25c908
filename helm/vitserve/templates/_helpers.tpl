{{- define "vitserve.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 50 characters leave room for suffixes. */}}
{{- define "vitserve.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "vitserve.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "vitserve.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "vitserve.selector" -}}
app.kubernetes.io/name: {{ include "vitserve.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "vitserve.labels" -}}
{{ include "vitserve.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "vitserve.serviceAccount" -}}
{{- default (ternary (include "vitserve.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "vitserve.image" -}}
{{- $suffix := ternary .Values.gpu.imageSuffix "" .Values.gpu.enabled -}}
{{- $registry := dig "global" "imageRegistry" "" (.Values | merge dict) | trimSuffix "/" -}}
{{- $repository := ternary (printf "%s/%s" $registry .Values.image.repository) .Values.image.repository (not (empty $registry)) -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default (print .Chart.AppVersion $suffix) .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Secrets for the image, of the chart and of the charts around it, as YAML; empty if there are none. */}}
{{- define "vitserve.pullSecrets" -}}
{{- $secrets := list -}}
{{- range dig "global" "imagePullSecrets" list (.Values | merge dict) | default list -}}
  {{- $secrets = append $secrets (ternary (dict "name" .) . (kindIs "string" .)) -}}
{{- end -}}
{{- with concat $secrets .Values.imagePullSecrets -}}{{- toYaml (uniq .) -}}{{- end -}}
{{- end -}}

{{- define "vitserve.tlsSecret" -}}
{{- default (printf "%s-tls" (include "vitserve.fullname" .)) .Values.tls.secretName -}}
{{- end -}}

{{/* "yes" if the gRPC port speaks TLS, by tls.enabled or config; otherwise empty. */}}
{{- define "vitserve.isTls" -}}
{{- if or .Values.tls.enabled (index .Values.config "tls-cert") -}}yes{{- end -}}
{{- end -}}

{{/* The settings of the server as JSON: config, and what follows from other values. Contradictions fail the rendering. */}}
{{- define "vitserve.settings" -}}
{{- $config := deepCopy .Values.config -}}
{{- $set := dict -}}
{{- if .Values.tls.enabled -}}
  {{- $_ := set $set "tls-cert" "/etc/vitserve/tls/tls.crt" -}}
  {{- $_ := set $set "tls-key" "/etc/vitserve/tls/tls.key" -}}
  {{- if .Values.tls.mutual -}}
    {{- $folder := ternary "client-ca" "tls" (not (empty .Values.tls.clientCaSecretName)) -}}
    {{- $_ := set $set "tls-client-ca" (printf "/etc/vitserve/%s/ca.crt" $folder) -}}
  {{- end -}}
{{- end -}}
{{- if .Values.tokens.secretName -}}
  {{- $_ := set $set "token-file" (printf "/etc/vitserve/tokens/%s" .Values.tokens.key) -}}
{{- end -}}
{{- if ne .Values.models.from "image" -}}
  {{- $_ := set $set "model-repository" (printf "%s/%s" .Values.models.path .Values.models.subPath | trimSuffix "/") -}}
{{- end -}}
{{- range $name, $value := $set -}}
  {{- if hasKey $config $name -}}
    {{- fail (printf "config.%s is already set by tls, tokens or models: leave one of them out" $name) -}}
  {{- end -}}
{{- end -}}
{{- if not (hasPrefix "simulated:" (get $config "execution-provider" | default "")) -}}
  {{- $provider := ternary "cuda" "cpu" .Values.gpu.enabled -}}
  {{- if ne (get $config "execution-provider" | default $provider) $provider -}}
    {{- fail (printf "config.execution-provider must be %s, because gpu.enabled is %t: otherwise pods could serve from the wrong processor, or not start" $provider .Values.gpu.enabled) -}}
  {{- end -}}
  {{- $_ := set $set "execution-provider" $provider -}}
{{- end -}}
{{- if not (include "vitserve.isTls" .) -}}
  {{- $_ := unset $config "health-address" -}}
{{- else if not (get $config "health-address") -}}
  {{- fail "config.health-address is missing: with TLS the probes need it, because the kubelet speaks plaintext" -}}
{{- end -}}
{{- mustMergeOverwrite $config $set | toJson -}}
{{- end -}}

{{/* The port of an address: (dict "address" "0.0.0.0:50051"). */}}
{{- define "vitserve.port" -}}
{{- regexFind "[0-9]+$" .address -}}
{{- end -}}

{{/* The port for gRPC probes, which is always plaintext. */}}
{{- define "vitserve.probePort" -}}
{{- $name := ternary "health-address" "address" (not (empty (include "vitserve.isTls" .))) -}}
{{- include "vitserve.port" (dict "address" (index .Values.config $name)) -}}
{{- end -}}

{{/* A duration such as 250ms, 5s, 2m or 1h in whole seconds, rounded up: (dict "duration" "5s"). */}}
{{- define "vitserve.seconds" -}}
{{- $number := regexFind "^[0-9]+" .duration | int64 -}}
{{- $unit := regexFind "[a-z]+$" .duration -}}
{{- if eq $unit "ms" -}}{{- div (add $number 999) 1000 -}}
{{- else if eq $unit "s" -}}{{- $number -}}
{{- else if eq $unit "m" -}}{{- mul $number 60 -}}
{{- else -}}{{- mul $number 3600 -}}
{{- end -}}
{{- end -}}

{{/* Seconds for a pod to end: sleep before SIGTERM, drain, margin. */}}
{{- define "vitserve.gracePeriod" -}}
{{- $delay := include "vitserve.seconds" (dict "duration" (get .Values.config "drain-delay" | default "0s")) | int64 -}}
{{- $timeout := include "vitserve.seconds" (dict "duration" (get .Values.config "drain-timeout" | default "30s")) | int64 -}}
{{- add .Values.preStopSleepSeconds $delay $timeout .Values.terminationMarginSeconds -}}
{{- end -}}

{{/* Seconds for a pod to start: the server's start-timeout is for decoders, and then for each model. */}}
{{- define "vitserve.startSeconds" -}}
{{- mul 3 (include "vitserve.seconds" (dict "duration" (get .Values.config "start-timeout" | default "60s")) | int64) -}}
{{- end -}}

{{/* Seconds until a new pod is available, and a minute for its node and image. */}}
{{- define "vitserve.leastProgress" -}}
{{- add (include "vitserve.startSeconds" . | int64) .Values.minReadySeconds 60 -}}
{{- end -}}

{{/* Checks that values.schema.json can't express. */}}
{{- define "vitserve.check" -}}
{{- $v := .Values -}}
{{- if not (dig "limits" "cpu" "" $v.resources) -}}
  {{- if or (not (hasKey $v.config "decoder-processes")) (not (hasKey $v.config "inference-processes")) -}}
    {{- fail "resources.limits.cpu is missing: the server would start processes for every core of the node. Set it, or config.decoder-processes and config.inference-processes" -}}
  {{- end -}}
{{- end -}}
{{- if and $v.tls.enabled (not $v.tls.certManager.enabled) (not $v.tls.secretName) -}}
  {{- fail "tls.secretName is missing: tls.enabled needs a Secret, or tls.certManager.enabled" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.enabled) -}}{{- fail "tls.certManager.enabled needs tls.enabled" -}}{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuer.name) -}}
  {{- fail "tls.certManager.issuer.name is missing: name the issuer that signs the certificate" -}}
{{- end -}}
{{- if and $v.tls.mutual (not $v.tls.enabled) -}}{{- fail "tls.mutual needs tls.enabled" -}}{{- end -}}
{{- if and (eq $v.models.from "claim") (not $v.models.claim.name) -}}{{- fail "models.claim.name is missing: name the PersistentVolumeClaim" -}}{{- end -}}
{{- if and (eq $v.models.from "init") (not $v.models.init.image) -}}{{- fail "models.init.image is missing: name the image that fills the volume" -}}{{- end -}}
{{- if and $v.autoscaling.enabled (lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
  {{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas" -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (not $v.autoscaling.cpu) (not (include "vitserve.podMetrics" . | fromJsonArray)) -}}
  {{- fail "autoscaling has no metric: set autoscaling.cpu or autoscaling.permits" -}}
{{- end -}}
{{- $progress := int $v.progressDeadlineSeconds -}}
{{- $least := include "vitserve.leastProgress" . | int -}}
{{- if and (gt $progress 0) (lt $progress $least) -}}
  {{- fail (printf "progressDeadlineSeconds is %d: a pod may take longer to start and to be available, so give %d or more, or 0" $progress $least) -}}
{{- end -}}
{{- if and (gt (int $v.preStopSleepSeconds) 0) (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
  {{- fail "preStopSleepSeconds needs Kubernetes 1.30: use config.drain-delay instead" -}}
{{- end -}}
{{- end -}}

{{/* The endpoint of both monitors: (dict "interval" "15s"). */}}
{{- define "vitserve.endpoint" -}}
- port: http
  path: /metrics
  interval: {{ .interval }}
{{- end -}}

{{/* Pod metrics for autoscaling, besides CPU time: those that are not null, as a JSON list of their names. */}}
{{- define "vitserve.podMetrics" -}}
{{- $names := list -}}
{{- range ternary (list "busy" "permits") (list "permits") .Values.gpu.enabled -}}
  {{- if index $.Values.autoscaling . -}}{{- $names = append $names . -}}{{- end -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{/* Prometheus queries of KEDA, as sums over the pods: (list . "permits"). */}}
{{- define "vitserve.query" -}}
{{- $root := index . 0 -}}
{{- $of := printf "namespace=%q, pod=~%q" $root.Release.Namespace (printf "%s-.*" (include "vitserve.fullname" $root)) -}}
{{- if eq (index . 1) "permits" -}}
sum(avg_over_time(vitserve_permits_in_use{ {{- $of -}} }[1m]) / (vitserve_permits_limit{ {{- $of -}} } > 0))
{{- else -}}
sum(sum by (pod) (rate(vitserve_inference_duration_seconds_sum{ {{- $of -}} }[1m])) / (sum by (pod) (vitserve_process_ready{ {{- $of }}, role="inference"}) > 0))
{{- end -}}
{{- end -}}
