{{- define "vitserve.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough for what is put behind it. */}}
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
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default (print .Chart.AppVersion $suffix) .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "vitserve.tlsSecret" -}}
{{- default (printf "%s-tls" (include "vitserve.fullname" .)) .Values.tls.secretName -}}
{{- end -}}

{{/* Whether the gRPC port speaks TLS, whoever has set it; empty: no. */}}
{{- define "vitserve.isTls" -}}
{{- if or .Values.tls.enabled (index .Values.config "tls-cert") -}}yes{{- end -}}
{{- end -}}

{{/* The settings of the server, with what follows from other values, as JSON. Contradictions end the rendering. */}}
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
    {{- fail (printf "config.%s is set by tls, tokens or models: leave one of them out" $name) -}}
  {{- end -}}
{{- end -}}
{{- if not (hasPrefix "simulated:" (get $config "execution-provider" | default "")) -}}
  {{- $provider := ternary "cuda" "cpu" .Values.gpu.enabled -}}
  {{- if ne (get $config "execution-provider" | default $provider) $provider -}}
    {{- fail (printf "config.execution-provider has to be %s, because gpu.enabled is %t: with anything else pods could serve from the wrong processor, or not start" $provider .Values.gpu.enabled) -}}
  {{- end -}}
  {{- $_ := set $set "execution-provider" $provider -}}
{{- end -}}
{{- if not (include "vitserve.isTls" .) -}}
  {{- $_ := unset $config "health-address" -}}
{{- else if not (get $config "health-address") -}}
  {{- fail "config.health-address: probes need it with TLS, which the kubelet does not speak" -}}
{{- end -}}
{{- mustMergeOverwrite $config $set | toJson -}}
{{- end -}}

{{/* The port of an address: (dict "address" "0.0.0.0:50051"). */}}
{{- define "vitserve.port" -}}
{{- regexFind "[0-9]+$" .address -}}
{{- end -}}

{{/* The port that gRPC probes ask: plaintext always. */}}
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

{{/* Seconds that a pod has to end: sleep before SIGTERM, drain, margin. */}}
{{- define "vitserve.gracePeriod" -}}
{{- $delay := include "vitserve.seconds" (dict "duration" (get .Values.config "drain-delay" | default "0s")) | int64 -}}
{{- $timeout := include "vitserve.seconds" (dict "duration" (get .Values.config "drain-timeout" | default "30s")) | int64 -}}
{{- add .Values.preStopSleepSeconds $delay $timeout .Values.terminationMarginSeconds -}}
{{- end -}}

{{/* Bytes of a Kubernetes quantity or of an option, such as 2Gi, 500M, 16MiB or 1024: (dict "quantity" "2Gi"). */}}
{{- define "vitserve.bytes" -}}
{{- $text := toString .quantity -}}
{{- if kindIs "float64" .quantity -}}{{- $text = printf "%.0f" .quantity -}}{{- end -}}
{{- $unit := regexFind "[A-Za-z]+$" $text | trimSuffix "B" -}}
{{- $factor := get (dict "" 1 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000) $unit -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) $factor | int64 -}}
{{- end -}}

{{/* Decoder processes: what config says, else one for each core of the CPU limit, rounded up as the server does. */}}
{{- define "vitserve.decoders" -}}
{{- $asked := get .Values.config "decoder-processes" | default "auto" -}}
{{- $cpu := dig "limits" "cpu" "" .Values.resources -}}
{{- if ne (toString $asked) "auto" -}}{{- int64 $asked -}}
{{- else if hasSuffix "m" (toString $cpu) -}}{{- divf (trimSuffix "m" $cpu | float64) 1000 | ceil | int64 -}}
{{- else -}}{{- ceil (float64 $cpu) | int64 -}}
{{- end -}}
{{- end -}}

{{/* Bytes of /dev/shm, in MiB rounded up: docs/operations.md, "Shared memory". */}}
{{- define "vitserve.sharedMemory" -}}
{{- if .Values.sharedMemory.size -}}
{{- .Values.sharedMemory.size -}}
{{- else -}}
{{- $side := int64 .Values.sharedMemory.imageSize -}}
{{- $slot := add (mul $side $side 3) 64 -}}
{{- $permits := get .Values.config "permits" | default "auto" -}}
{{- $slots := mul $slot (add 8 (int64 .Values.sharedMemory.permits)) 2 -}}
{{- if ne (toString $permits) "auto" -}}{{- $slots = mul $slot (add 8 (int64 $permits)) -}}{{- end -}}
{{- $image := include "vitserve.bytes" (dict "quantity" (get .Values.config "max-image-bytes" | default "16MiB")) | int64 -}}
{{- $inboxes := mul (include "vitserve.decoders" . | int64) (max $image 1048576) -}}
{{- div (add $slots $inboxes 1048575) 1048576 -}}Mi
{{- end -}}
{{- end -}}

{{/* What can't be said in values.schema.json. */}}
{{- define "vitserve.check" -}}
{{- $v := .Values -}}
{{- if not (dig "limits" "cpu" "" $v.resources) -}}
  {{- if or (not (hasKey $v.config "decoder-processes")) (not (hasKey $v.config "inference-processes")) -}}
    {{- fail "resources.limits.cpu: without it the server would start processes for every core of the node; set it, or config.decoder-processes and config.inference-processes" -}}
  {{- end -}}
{{- end -}}
{{- $memory := dig "limits" "memory" "" $v.resources -}}
{{- if $memory -}}
  {{- $shared := include "vitserve.sharedMemory" . -}}
  {{- if ge (include "vitserve.bytes" (dict "quantity" $shared) | int64) (include "vitserve.bytes" (dict "quantity" $memory) | int64) -}}
    {{- fail (printf "resources.limits.memory: %s is not more than the %s of shared memory, which count as the pod's" (toString $memory) $shared) -}}
  {{- end -}}
{{- end -}}
{{- if and $v.tls.enabled (not $v.tls.certManager.enabled) (not $v.tls.secretName) -}}
  {{- fail "tls.secretName: tls.enabled needs a Secret, or tls.certManager.enabled" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.enabled) -}}{{- fail "tls.certManager.enabled is of no use without tls.enabled" -}}{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuer.name) -}}
  {{- fail "tls.certManager.issuer.name: which issuer shall sign?" -}}
{{- end -}}
{{- if and $v.tls.mutual (not $v.tls.enabled) -}}{{- fail "tls.mutual asks callers for certificates, which only tls.enabled can" -}}{{- end -}}
{{- if and (eq $v.models.from "claim") (not $v.models.claim.name) -}}{{- fail "models.claim.name: which PersistentVolumeClaim?" -}}{{- end -}}
{{- if and (eq $v.models.from "init") (not $v.models.init.image) -}}{{- fail "models.init.image: what fills the volume?" -}}{{- end -}}
{{- if and $v.autoscaling.enabled (lt (int $v.autoscaling.maxReplicas) (int $v.autoscaling.minReplicas)) -}}
  {{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas" -}}
{{- end -}}
{{- if and (gt (int $v.preStopSleepSeconds) 0) (semverCompare "<1.30.0-0" .Capabilities.KubeVersion.Version) -}}
  {{- fail "preStopSleepSeconds needs Kubernetes 1.30; config.drain-delay does the same, and better, on any" -}}
{{- end -}}
{{- end -}}

{{/* The same twice, once for each monitor: (dict "interval" "15s"). */}}
{{- define "vitserve.endpoint" -}}
- port: http
  path: /metrics
  interval: {{ .interval }}
{{- end -}}

{{/* Which metrics of pods autoscaling goes by, beside CPU time. */}}
{{- define "vitserve.podMetrics" -}}
{{- ternary "busy permits" "permits" .Values.gpu.enabled -}}
{{- end -}}

{{/* What Prometheus is asked for autoscaling, as sums over the pods, by KEDA: (list . "permits"). */}}
{{- define "vitserve.query" -}}
{{- $root := index . 0 -}}
{{- $of := printf "namespace=%q, pod=~%q" $root.Release.Namespace (printf "%s-.*" (include "vitserve.fullname" $root)) -}}
{{- if eq (index . 1) "permits" -}}
sum(avg_over_time(vitserve_permits_in_use{ {{- $of -}} }[1m]) / (vitserve_permits_limit{ {{- $of -}} } > 0))
{{- else -}}
sum(sum by (pod) (rate(vitserve_inference_duration_seconds_sum{ {{- $of -}} }[1m])) / (sum by (pod) (vitserve_process_ready{ {{- $of }}, role="inference"}) > 0))
{{- end -}}
{{- end -}}
