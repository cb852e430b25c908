/**
 * `helm/vitserve/values.schema.json`: the chart's own values, written down here, and the options of
 * the server under `config`, from the option table. Every key of `values.yaml` has its row, and
 * nothing else is accepted, so that a typing error is an error (test/contract/chart.test.ts holds
 * the two together). Parts that go to Kubernetes as they are, such as affinities, are left to
 * Kubernetes.
 */
const text = { type: 'string' };
const flag = { type: 'boolean' };
const anything = { type: 'object' };
const strings = { type: 'array', items: text };
const objects = { type: 'array', items: anything };
const texts = { type: 'object', additionalProperties: text };
const count = (minimum) => ({ type: 'integer', minimum });
const oneOf = (...values) => ({ enum: values });
const matching = (pattern) => ({ type: 'string', pattern });
const only = (properties, required = []) => ({
  type: 'object',
  additionalProperties: false,
  properties,
  required,
});

const name = matching('^([a-z0-9]([a-z0-9.-]*[a-z0-9])?)?$');
const path = matching('^/.+');
const size = matching('^([0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?)?$');
const interval = matching('^([0-9]+(ms|s|m|h))+$');
/** A quantity of Kubernetes, as YAML reads it: `2`, `"2"`, `500m`, `2Gi`. */
const quantity = {
  anyOf: [{ type: 'number', minimum: 0 }, matching('^[0-9]+(\\.[0-9]+)?(m|Ki|Mi|Gi|Ti|k|M|G|T)?$')],
};
const quantities = { type: 'object', additionalProperties: quantity };
const resources = { type: 'object', properties: { requests: quantities, limits: quantities } };
const share = { anyOf: [count(0), matching('^[0-9]+%$')] };
/**
 * What a metric may be on average: above 0 and at most 1, as text, because that is how Kubernetes
 * wants it.
 */
const target = matching('^(0\\.[0-9]*[1-9][0-9]*|1|[1-9][0-9]{0,2}m)$');
const metric = only({ metric: matching('^[a-zA-Z_:][a-zA-Z0-9_:]*$'), target }, [
  'metric',
  'target',
]);
const monitor = only({ enabled: flag, interval, labels: texts });
const probe = { type: 'object', additionalProperties: count(1) };

/** The same, or null: left out. */
const optional = (schema) => ({ anyOf: [schema, { type: 'null' }] });

export const CHART_VALUES = {
  enabled: flag,
  nameOverride: name,
  fullnameOverride: name,
  image: only({
    repository: matching('^[^\\s:@]+(:[0-9]+/[^\\s:@]+)?$'),
    tag: matching('^([A-Za-z0-9_][A-Za-z0-9_.-]*)?$'),
    digest: matching('^(sha256:[0-9a-f]{64})?$'),
    pullPolicy: oneOf('Always', 'IfNotPresent', 'Never'),
  }),
  imagePullSecrets: objects,
  replicas: count(0),
  resources,
  gpu: only({
    enabled: flag,
    resource: matching('^[a-z0-9.-]+/[A-Za-z0-9._-]+$'),
    runtimeClassName: name,
    imageSuffix: matching('^[A-Za-z0-9_.-]*$'),
    tolerations: objects,
    nodeSelector: texts,
  }),
  models: only({
    from: oneOf('image', 'claim', 'init'),
    path,
    subPath: text,
    claim: only({ name }),
    init: only({
      image: text,
      command: strings,
      args: strings,
      env: objects,
      envFrom: objects,
      resources,
      size: { ...size, minLength: 1 },
    }),
  }),
  sharedMemory: only({ size: { ...size, minLength: 1 } }, ['size']),
  tls: only({
    enabled: flag,
    secretName: name,
    mutual: flag,
    clientCaSecretName: name,
    certManager: only({
      enabled: flag,
      issuer: only({ name, kind: text, group: text }),
      dnsNames: strings,
      duration: interval,
      renewBefore: interval,
    }),
  }),
  tokens: only({ secretName: name, key: matching('^[A-Za-z0-9._-]+$') }),
  service: only({
    type: oneOf('ClusterIP', 'LoadBalancer', 'NodePort'),
    annotations: texts,
    headless: only({ annotations: texts }),
  }),
  serviceAccount: only({ create: flag, name, annotations: texts }),
  autoscaling: only({
    enabled: flag,
    minReplicas: count(1),
    maxReplicas: count(1),
    cpu: optional(only({ target: { type: 'integer', minimum: 1, maximum: 100 } }, ['target'])),
    busy: optional(metric),
    permits: optional(metric),
    behavior: anything,
    keda: only({ enabled: flag, serverAddress: matching('^https?://'), pollingInterval: count(1) }),
  }),
  podDisruptionBudget: only({ enabled: flag, maxUnavailable: share }),
  networkPolicy: only({
    enabled: flag,
    callers: objects,
    prometheus: objects,
    probes: objects,
    egress: objects,
  }),
  monitoring: only({
    serviceMonitor: monitor,
    podMonitor: monitor,
    prometheusRule: only({ enabled: flag, labels: texts }),
    dashboard: only({ enabled: flag, labels: texts }),
  }),
  probes: only({
    startup: only({ periodSeconds: count(1) }, ['periodSeconds']),
    readiness: probe,
    liveness: probe,
  }),
  terminationMarginSeconds: count(1),
  preStopSleepSeconds: count(0),
  minReadySeconds: count(0),
  progressDeadlineSeconds: count(0),
  revisionHistoryLimit: count(0),
  strategy: anything,
  podAnnotations: texts,
  podLabels: texts,
  priorityClassName: name,
  nodeSelector: texts,
  tolerations: objects,
  affinity: anything,
  topologySpread: objects,
  podSecurityContext: anything,
  securityContext: anything,
  extraEnv: objects,
  extraVolumes: objects,
  extraVolumeMounts: objects,
  test: only({ clientSecretName: name }),
};

/** `config` is the schema of the server's options. */
export function renderChartSchema(config) {
  const schema = {
    $schema: 'http://json-schema.org/draft-07/schema#',
    $comment:
      'Generated from src/cli/options.ts and tools/chart-schema.mjs by npm run generate. Edit those files instead.',
    title: 'Values of the vitserve chart',
    type: 'object',
    additionalProperties: false,
    properties: {
      // Shared by all charts of a release, so it may hold more than is read here.
      global: {
        type: 'object',
        properties: {
          imageRegistry: matching('^[^\\s@]*$'),
          imagePullSecrets: { type: 'array', items: { anyOf: [name, anything] } },
        },
      },
      config: { ...config, required: ['address', 'http-address'] },
      ...CHART_VALUES,
    },
  };
  return `${JSON.stringify(schema, undefined, 2)}\n`;
}
