/** Vitserve's own metrics after one image: numbers are N, the bounds of buckets one line. */
export const EXPOSITION = `
# HELP vitserve_requests_total Calls that have ended, by method, gRPC code and reason (empty for OK and for statuses of the transport).
# TYPE vitserve_requests_total counter
vitserve_requests_total{method="Classify",code="OK",reason=""} N
# HELP vitserve_request_duration_seconds From the arrival of a call to its status, by method. Streams count from their first byte to their end.
# TYPE vitserve_request_duration_seconds histogram
vitserve_request_duration_seconds_bucket{le="*",method="Classify"} N
vitserve_request_duration_seconds_sum{method="Classify"} N
vitserve_request_duration_seconds_count{method="Classify"} N
# HELP vitserve_stream_images_total Images of streams that were answered, by gRPC code and reason.
# TYPE vitserve_stream_images_total counter
# HELP vitserve_decode_duration_seconds Decoding, resizing and cropping of one image in a decoder process, by image format and decoder.
# TYPE vitserve_decode_duration_seconds histogram
vitserve_decode_duration_seconds_bucket{le="*",format="jpeg",decoder="turbojpeg"} N
vitserve_decode_duration_seconds_sum{format="jpeg",decoder="turbojpeg"} N
vitserve_decode_duration_seconds_count{format="jpeg",decoder="turbojpeg"} N
# HELP vitserve_queue_duration_seconds All waiting of one answered image: for a decoder, for a batch, and on the way between processes.
# TYPE vitserve_queue_duration_seconds histogram
vitserve_queue_duration_seconds_bucket{le="*"} N
vitserve_queue_duration_seconds_sum N
vitserve_queue_duration_seconds_count N
# HELP vitserve_inference_duration_seconds One execution of a batch in an inference process, by model.
# TYPE vitserve_inference_duration_seconds histogram
vitserve_inference_duration_seconds_bucket{le="*",model="small"} N
vitserve_inference_duration_seconds_sum{model="small"} N
vitserve_inference_duration_seconds_count{model="small"} N
# HELP vitserve_batch_size Images executed together, by model.
# TYPE vitserve_batch_size histogram
vitserve_batch_size_bucket{le="*",model="small"} N
vitserve_batch_size_sum{model="small"} N
vitserve_batch_size_count{model="small"} N
# HELP vitserve_batch_cost_seconds What a batch of this size costs now, by model and version: the figure that deadlines are checked against.
# TYPE vitserve_batch_cost_seconds gauge
# HELP vitserve_deadline_slack_seconds Time left to the deadline when an image with one was answered.
# TYPE vitserve_deadline_slack_seconds histogram
vitserve_deadline_slack_seconds_bucket{le="*"} N
vitserve_deadline_slack_seconds_sum N
vitserve_deadline_slack_seconds_count N
# HELP vitserve_dropped_images_total Images not worked on because their caller had left or their deadline had passed or was out of reach, by stage and cause.
# TYPE vitserve_dropped_images_total counter
vitserve_dropped_images_total{stage="decode",cause="cancelled"} N
vitserve_dropped_images_total{stage="decode",cause="expired"} N
vitserve_dropped_images_total{stage="decode",cause="unreachable"} N
vitserve_dropped_images_total{stage="batch",cause="cancelled"} N
vitserve_dropped_images_total{stage="batch",cause="expired"} N
vitserve_dropped_images_total{stage="batch",cause="unreachable"} N
# HELP vitserve_retries_total Images given to another process because theirs was lost, by stage.
# TYPE vitserve_retries_total counter
vitserve_retries_total{stage="decode"} N
vitserve_retries_total{stage="batch"} N
# HELP vitserve_quarantined_images_total Images found to end the processes that work on them, by stage.
# TYPE vitserve_quarantined_images_total counter
vitserve_quarantined_images_total{stage="decode"} N
vitserve_quarantined_images_total{stage="batch"} N
# HELP vitserve_queue_length Images that wait for a process, by stage (decode, batch) and, where it has one, model.
# TYPE vitserve_queue_length gauge
vitserve_queue_length{stage="decode",model=""} N
vitserve_queue_length{stage="batch",model="small"} N
# HELP vitserve_permits_limit Images that may be worked on at a time.
# TYPE vitserve_permits_limit gauge
vitserve_permits_limit N
# HELP vitserve_permits_in_use Images that are being worked on.
# TYPE vitserve_permits_in_use gauge
vitserve_permits_in_use N
# HELP vitserve_uploads_in_flight Unary image calls whose body has not arrived in full.
# TYPE vitserve_uploads_in_flight gauge
vitserve_uploads_in_flight N
# HELP vitserve_held_rejections Calls whose rejection is held back now, because callers call again at once.
# TYPE vitserve_held_rejections gauge
vitserve_held_rejections N
# HELP vitserve_held_rejections_total Rejections that were held back, because callers call again at once.
# TYPE vitserve_held_rejections_total counter
vitserve_held_rejections_total N
# HELP vitserve_connections_in_use Open connections to the gRPC port.
# TYPE vitserve_connections_in_use gauge
vitserve_connections_in_use N
# HELP vitserve_connections_refused_total Connections ended before they could carry a call, by cause (limit, handshake_timeout, tls, client_certificate, protocol).
# TYPE vitserve_connections_refused_total counter
vitserve_connections_refused_total{cause="limit"} N
vitserve_connections_refused_total{cause="handshake_timeout"} N
vitserve_connections_refused_total{cause="tls"} N
vitserve_connections_refused_total{cause="client_certificate"} N
vitserve_connections_refused_total{cause="protocol"} N
# HELP vitserve_credential_reloads_total Looks at files of credentials (certificate, tokens) that found new content, by result (loaded, kept).
# TYPE vitserve_credential_reloads_total counter
# HELP vitserve_tls_certificate_expiry_timestamp_seconds When the certificates in use end (server, client_ca), the first one of each file, since the epoch.
# TYPE vitserve_tls_certificate_expiry_timestamp_seconds gauge
# HELP vitserve_trace_spans_total Spans of traces that were sent, by result (exported, failed).
# TYPE vitserve_trace_spans_total counter
# HELP vitserve_log_lines_dropped_total Log lines that could not be written, by cause (unread, no_space, closed, error).
# TYPE vitserve_log_lines_dropped_total counter
vitserve_log_lines_dropped_total{cause="unread"} N
vitserve_log_lines_dropped_total{cause="no_space"} N
vitserve_log_lines_dropped_total{cause="closed"} N
vitserve_log_lines_dropped_total{cause="error"} N
# HELP vitserve_slot_bytes Shared memory reserved for pixel slots.
# TYPE vitserve_slot_bytes gauge
vitserve_slot_bytes N
# HELP vitserve_state 1 for the state of the server, 0 for the others.
# TYPE vitserve_state gauge
vitserve_state{state="starting"} N
vitserve_state{state="serving"} N
vitserve_state{state="draining"} N
vitserve_state{state="stopped"} N
vitserve_state{state="failed"} N
# HELP vitserve_model_info Always 1: the model that is served, its version and the execution provider that really runs it.
# TYPE vitserve_model_info gauge
# HELP vitserve_execution_provider_fallback 1 if execution-provider auto did not get CUDA and runs on the CPU instead, by model.
# TYPE vitserve_execution_provider_fallback gauge
# HELP vitserve_model_failures_total Versions of a model that could not be loaded while serving, by model; empty for the repository itself.
# TYPE vitserve_model_failures_total counter
# HELP vitserve_process_ready 1 if the child process takes calls, by role (decoder, inference) and index.
# TYPE vitserve_process_ready gauge
# HELP vitserve_process_losses_total Child processes that ended without being asked to, by role and cause (exit, signal, timeout, cpu, protocol, start).
# TYPE vitserve_process_losses_total counter
vitserve_process_losses_total{role="decoder",cause="exit"} N
vitserve_process_losses_total{role="decoder",cause="signal"} N
vitserve_process_losses_total{role="decoder",cause="timeout"} N
vitserve_process_losses_total{role="decoder",cause="cpu"} N
vitserve_process_losses_total{role="decoder",cause="protocol"} N
vitserve_process_losses_total{role="decoder",cause="start"} N
vitserve_process_losses_total{role="inference",cause="exit"} N
vitserve_process_losses_total{role="inference",cause="signal"} N
vitserve_process_losses_total{role="inference",cause="timeout"} N
vitserve_process_losses_total{role="inference",cause="cpu"} N
vitserve_process_losses_total{role="inference",cause="protocol"} N
vitserve_process_losses_total{role="inference",cause="start"} N
# HELP vitserve_process_cpu_seconds User and system CPU time of the child process that runs now, by role and index.
# TYPE vitserve_process_cpu_seconds gauge
# HELP vitserve_process_resident_memory_bytes Resident memory of the child process that runs now, by role and index.
# TYPE vitserve_process_resident_memory_bytes gauge
`;
