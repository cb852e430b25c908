/**
 * The chart: what Kubernetes gets from it, for each feature's values in `helm/vitserve/ci/`, and
 * that what it says about the server is what the server knows. Most of it needs Helm and skips,
 * saying so, where there is none; the schemas of Kubernetes need the Python package
 * kubernetes-validate.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import sharp from 'sharp';
import { contradictions } from '#vitserve/cli/contradictions.js';
import { loadServeSettings } from '#vitserve/cli/load.js';
import { slotOffset } from '#vitserve/workers/slots.js';
import {
  CHART,
  Chart,
  hasHelm,
  helm,
  type Json,
  KUBERNETES_VERSIONS,
  templates,
  valuesFiles,
} from '../support/helm.js';
import { pythonWith } from '../support/python.js';
import { REPOSITORY, suiteScope, temporaryFolder } from '../support/server.js';
import { blocksOf, read, readJson } from './repository.js';

const python = pythonWith(['kubernetes_validate']);
/** Slots that belong to no permit. */
const SLOTS_OF_NEW_VERSIONS = 8;
/** Kinds of other projects, for which Kubernetes has no schema. */
const FOREIGN = ['Certificate', 'PodMonitor', 'PrometheusRule', 'ScaledObject', 'ServiceMonitor'];

function container(deployment: Json): Json {
  return deployment.spec.template.spec.containers[0];
}

/** The server's own variables, by option name. */
function settingsOf(deployment: Json): Record<string, string> {
  const variables = container(deployment).env.filter((each: Json) =>
    each.name.startsWith('VITSERVE_'),
  );
  return Object.fromEntries(variables.map((each: Json) => [each.name, each.value]));
}

function volume(pod: Json, name: string): Json {
  return pod.volumes.find((each: Json) => each.name === name);
}

describe('the chart, without Helm', () => {
  test("turns onnxruntime's telemetry off, whatever is in the image", () => {
    const template = read('helm/vitserve/templates/deployment.yaml');
    assert.match(template, /name: ORT_DISABLE_TELEMETRY\n +value: "1"\n/);
  });

  test('has the version of the program', () => {
    const { version } = readJson<{ version: string }>('package.json');
    const chart = read('helm/vitserve/Chart.yaml');
    assert.match(chart, new RegExp(`^version: ${version}$`, 'm'));
    assert.match(chart, new RegExp(`^appVersion: ${version}$`, 'm'));
  });

  test('the picture that helm test sends is one', async () => {
    const [, base64 = ''] =
      /picture\.png: (\S+)$/m.exec(read('helm/vitserve/templates/tests/picture.yaml')) ?? [];
    const { format, width, height } = await sharp(Buffer.from(base64, 'base64')).metadata();
    assert.deepEqual([format, width, height], ['png', 16, 16]);
  });

  test('has shared memory for as many images of the usual size as its comment says', () => {
    const values = read('helm/vitserve/values.yaml');
    const [, images, mebibytes] =
      /enough for (\d+) images of 224 × 224[\s\S]*?\nsharedMemory:\n {2}size: (\d+)Mi\n/.exec(
        values,
      ) ?? [];
    const [, cores] = /limits: \{ cpu: "(\d+)"/.exec(values) ?? [];
    const slot = slotOffset({ pixelBytes: 224 * 224 * 3 }, 1);
    const { maxImageBytes } = loadServeSettings([], {}).settings;
    const free = Number(mebibytes) * 2 ** 20 - Number(cores) * maxImageBytes;
    assert.ok((Number(images) + SLOTS_OF_NEW_VERSIONS) * slot <= free / 2, `${images} images`);
  });

  test('includes what Prometheus and Grafana read as it stands in its files', () => {
    assert.match(read('helm/vitserve/rules/vitserve.yaml'), /^groups:$/m);
    assert.ok('title' in readJson<object>('helm/vitserve/dashboards/vitserve.json'));
  });
});

describe('the chart', { skip: hasHelm ? false : 'no helm on the PATH' }, () => {
  const scope = suiteScope();
  const chart = new Chart(scope);
  const deploymentOf = (flags: readonly string[]): Json =>
    chart.render(flags).objects.get('deployment.yaml');
  const refusal = (...sets: string[]): string => {
    const { status, stderr } = chart.run(sets.flatMap((each) => ['--set', each]));
    assert.notEqual(status, 0, sets.join(' '));
    return stderr;
  };

  for (const file of valuesFiles()) {
    test(`${file}: lint finds nothing, and the server accepts the settings`, () => {
      const linted = helm(
        ...['lint', CHART, '--strict', '--kube-version', KUBERNETES_VERSIONS[0]],
        ...['--values', join(CHART, 'ci', file)],
      );
      assert.equal(linted.status, 0, linted.stdout + linted.stderr);

      const deployment = chart.renderFile(file).objects.get('deployment.yaml');
      const { settings } = loadServeSettings([], settingsOf(deployment));
      assert.deepEqual(contradictions(settings, new Set()), []);
      assert.notEqual(settings.executionProvider.kind, 'auto');
    });
  }

  for (const { name, text } of blocksOf('docs/operate/kubernetes.md').filter((block) =>
    block.name.startsWith('values-'),
  )) {
    test(`docs/operate/kubernetes.md: ${name} are values that the chart takes`, () => {
      const path = join(temporaryFolder(scope), 'values.yaml');
      writeFileSync(path, text);
      const deployment = chart.render(['--values', path]).objects.get('deployment.yaml');
      loadServeSettings([], settingsOf(deployment));
    });
  }

  test('every template is rendered by the values of some feature', () => {
    const rendered = new Set(
      valuesFiles().flatMap((file) => [...chart.renderFile(file).objects.keys()]),
    );
    assert.deepEqual([...rendered].sort(), templates());
  });

  test('objects bear the release, and the Services, monitors and policies choose the pods', () => {
    for (const file of valuesFiles()) {
      const { objects } = chart.renderFile(file);
      const { labels } = objects.get('deployment.yaml').spec.template.metadata;
      for (const [path, object] of objects) {
        const { metadata, spec = {} } = object;
        assert.match(metadata.name, /^shop-(vitserve|vision)(-headless|-test|-dashboard)?$/, path);
        assert.equal(metadata.labels['app.kubernetes.io/instance'], 'shop', path);
        const chosen = spec.selector?.matchLabels ?? spec.podSelector?.matchLabels ?? spec.selector;
        if (chosen === undefined || path === 'servicemonitor.yaml') continue;
        assert.deepEqual(
          Object.entries({ ...labels, ...chosen }).sort(),
          Object.entries(labels).sort(),
          path,
        );
      }
    }
  });

  test('every value has its row in the schema, and every row its value', () => {
    const { values } = chart.render();
    const { properties } = readJson<Json>('helm/vitserve/values.schema.json');
    const compare = (path: string, value: Json, schema: Json) => {
      if (schema.additionalProperties !== false || path === 'config') return;
      assert.deepEqual(Object.keys(value).sort(), Object.keys(schema.properties).sort(), path);
      for (const [key, inner] of Object.entries<Json>(schema.properties))
        compare(`${path}.${key}`, value[key], inner);
    };
    const { config, global: _, ...own } = properties;
    const { global: __, config: set, ...ownValues } = values;
    compare('values', ownValues, { additionalProperties: false, properties: own });
    for (const option of Object.keys(set)) assert.ok(option in config.properties, option);
  });

  test('a value that is wrong is named by its path', () => {
    const wrong: readonly (readonly [string, RegExp])[] = [
      ['config.permits=many', /config.permits/],
      ['config.drain-delay=5', /config.drain-delay/],
      ['config.max-image-bytes=16MB', /config.max-image-bytes/],
      ['config.address=here', /config.address/],
      ['config.permit=4', /config.*permit/],
      ['config.config=file.json', /config.*config/],
      ['replicas=two', /replicas/],
      ['gpu.enable=true', /gpu.*enable/],
      ['models.from=disk', /models.from/],
      ['tls.certManager.enabled=yes please', /tls.certManager.enabled/],
      ['autoscaling.permits.target=2', /autoscaling.permits.target/],
      ['podDisruptionBudget.maxUnavailable=some', /podDisruptionBudget.maxUnavailable/],
      ['resources.limits.memory=2GB', /resources.limits.memory/],
      ['image.digest=latest', /image.digest/],
      ['sharedMemory.size=64MB', /sharedMemory.size/],
      ['sharedMemory.size=', /sharedMemory.size/],
      ['config.execution-provider=simulated', /config.execution-provider/],
    ];
    for (const [value, path] of wrong) assert.match(refusal(value), path, value);
  });

  test('values that contradict each other are named by their paths', () => {
    const tls = ['tls.enabled=true', 'tls.secretName=a'];
    const wrong: readonly (readonly [readonly string[], RegExp])[] = [
      [
        ['gpu.enabled=true', 'config.execution-provider=auto'],
        /config\.execution-provider must be cuda/,
      ],
      [['config.execution-provider=auto'], /config\.execution-provider must be cpu/],
      [['tls.enabled=true'], /tls\.secretName/],
      [['tls.mutual=true'], /tls\.mutual/],
      [['tls.certManager.enabled=true'], /tls\.certManager\.enabled/],
      [['tls.enabled=true', 'tls.certManager.enabled=true'], /tls\.certManager\.issuer\.name/],
      [[...tls, 'config.tls-cert=/a'], /config\.tls-cert/],
      [[...tls, 'config.health-address=null'], /config\.health-address/],
      [['tokens.secretName=a', 'config.token-file=/a'], /config\.token-file/],
      [['models.from=claim'], /models\.claim\.name/],
      [['models.from=init'], /models\.init\.image/],
      [['resources.limits.cpu=null'], /resources\.limits\.cpu/],
      [['autoscaling.enabled=true', 'autoscaling.maxReplicas=1'], /autoscaling\.maxReplicas/],
      [
        ['autoscaling.enabled=true', 'autoscaling.cpu=null', 'autoscaling.permits=null'],
        /autoscaling has no metric/,
      ],
      [['progressDeadlineSeconds=274'], /progressDeadlineSeconds is 274: .* give 275 or more/],
    ];
    for (const [values, path] of wrong) assert.match(refusal(...values), path, values.join(' '));
    assert.match(
      chart.run(['--set', 'preStopSleepSeconds=3'], '1.29.0').stderr,
      /preStopSleepSeconds needs/,
    );
  });

  test('pods have the time to drain: sleep, drain-delay, drain-timeout and a margin', () => {
    const graceOf = (...sets: string[]) =>
      deploymentOf(sets.flatMap((each) => ['--set', each])).spec.template.spec
        .terminationGracePeriodSeconds;
    assert.equal(graceOf(), 5 + 20 + 5);
    assert.equal(
      graceOf('config.drain-delay=1500ms', 'config.drain-timeout=2m', 'preStopSleepSeconds=3'),
      130,
    );
    assert.equal(
      graceOf('config.drain-delay=null', 'config.drain-timeout=null'),
      35,
      "the server's own defaults",
    );
    assert.equal(graceOf('config.drain-timeout=1h', 'terminationMarginSeconds=1'), 3606);
    const slept = container(deploymentOf(['--set', 'preStopSleepSeconds=3'])).lifecycle;
    assert.deepEqual(slept, { preStop: { sleep: { seconds: 3 } } });
    assert.equal(container(deploymentOf([])).lifecycle, undefined);
  });

  test('/dev/shm has the size that is set', () => {
    const sizeOf = (...flags: string[]) =>
      volume(deploymentOf(flags).spec.template.spec, 'shared-memory').emptyDir;
    assert.deepEqual(sizeOf(), { medium: 'Memory', sizeLimit: '256Mi' });
    assert.deepEqual(sizeOf('--set', 'sharedMemory.size=64Mi'), {
      medium: 'Memory',
      sizeLimit: '64Mi',
    });
  });

  test('nothing runs as root, writes to the image or has a token, and reflection is off', () => {
    for (const file of valuesFiles()) {
      const { objects } = chart.renderFile(file);
      const pods = [
        objects.get('deployment.yaml').spec.template.spec,
        objects.get('tests/classify.yaml').spec,
      ];
      for (const pod of pods) {
        assert.equal(pod.automountServiceAccountToken, false, file);
        assert.deepEqual(pod.securityContext, {
          runAsNonRoot: true,
          runAsUser: 65532,
          runAsGroup: 65532,
          fsGroup: 65532,
          seccompProfile: { type: 'RuntimeDefault' },
        });
        for (const { securityContext } of [...(pod.initContainers ?? []), ...pod.containers]) {
          assert.deepEqual(securityContext, {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          });
        }
      }
      const account = objects.get('serviceaccount.yaml');
      if (account !== undefined) assert.equal(account.automountServiceAccountToken, false);
      const asked = file === 'every-option-values.yaml' ? 'true' : 'false';
      assert.equal(settingsOf(objects.get('deployment.yaml')).VITSERVE_REFLECTION, asked, file);
    }
  });

  test('on a CPU: addresses that are reached, probes, a folder for what is temporary', () => {
    const deployment = chart.renderFile('cpu-values.yaml').objects.get('deployment.yaml');
    const { replicas, template } = deployment.spec;
    assert.equal(replicas, 3);
    const {
      VITSERVE_ADDRESS,
      VITSERVE_HTTP_ADDRESS,
      VITSERVE_EXECUTION_PROVIDER,
      VITSERVE_HEALTH_ADDRESS,
    } = settingsOf(deployment);
    assert.deepEqual([VITSERVE_ADDRESS, VITSERVE_HTTP_ADDRESS], ['0.0.0.0:50051', '0.0.0.0:8080']);
    assert.deepEqual([VITSERVE_EXECUTION_PROVIDER, VITSERVE_HEALTH_ADDRESS], ['cpu', undefined]);
    const { startupProbe, readinessProbe, livenessProbe, ports, args, image } =
      container(deployment);
    assert.deepEqual(
      [args, image],
      [['serve'], `vitserve:${readJson<{ version: string }>('package.json').version}`],
    );
    assert.deepEqual([startupProbe.grpc.port, readinessProbe.grpc.port], [50051, 50051]);
    assert.ok(
      startupProbe.periodSeconds * startupProbe.failureThreshold >= 2 * 60,
      'start-timeout, twice',
    );
    assert.deepEqual(livenessProbe.httpGet, { path: '/livez', port: 'http' });
    assert.deepEqual(
      ports.map((port: Json) => [port.name, port.containerPort]),
      [
        ['grpc', 50051],
        ['http', 8080],
      ],
    );
    assert.deepEqual(
      template.spec.volumes.map(({ name }: Json) => name),
      ['shared-memory', 'tmp'],
    );
    assert.equal(template.spec.topologySpreadConstraints.length, 2);
  });

  test('on a GPU: CUDA or nothing, one GPU a pod, nodes that have one, a folder for compiled kernels', () => {
    const deployment = chart.renderFile('gpu-values.yaml').objects.get('deployment.yaml');
    const { spec } = deployment.spec.template;
    const { resources, env, image, startupProbe } = container(deployment);
    assert.equal(settingsOf(deployment).VITSERVE_EXECUTION_PROVIDER, 'cuda');
    assert.equal(resources.limits['nvidia.com/gpu'], 1);
    assert.match(image, /-cuda$/);
    assert.equal(spec.runtimeClassName, 'nvidia');
    assert.deepEqual(spec.nodeSelector, { 'nvidia.com/gpu.present': 'true' });
    assert.deepEqual(spec.tolerations, [
      { key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' },
    ]);
    assert.deepEqual(
      env.find(({ name }: Json) => name === 'CUDA_CACHE_PATH').value,
      '/var/cache/cuda',
    );
    assert.ok(
      container(deployment).volumeMounts.some(
        ({ mountPath }: Json) => mountPath === '/var/cache/cuda',
      ),
    );
    assert.ok(volume(spec, 'cuda-cache').emptyDir);
    assert.ok(startupProbe.periodSeconds * startupProbe.failureThreshold >= 2 * 300);
    assert.deepEqual(deployment.spec.strategy.rollingUpdate, { maxSurge: 0, maxUnavailable: 1 });
  });

  test('with TLS: files of the Secret, and probes on a port without it', () => {
    for (const file of [
      'tls-values.yaml',
      'mtls-values.yaml',
      'cert-manager-values.yaml',
      'tokens-values.yaml',
    ]) {
      const deployment = chart.renderFile(file).objects.get('deployment.yaml');
      const { startupProbe, readinessProbe, ports, volumeMounts } = container(deployment);
      const settings = settingsOf(deployment);
      assert.equal(settings.VITSERVE_HEALTH_ADDRESS, '0.0.0.0:50052', file);
      assert.deepEqual([startupProbe.grpc.port, readinessProbe.grpc.port], [50052, 50052]);
      assert.ok(
        ports.some(({ name, containerPort }: Json) => name === 'health' && containerPort === 50052),
      );
      for (const [name, value] of Object.entries(settings)) {
        if (!/_(TLS_\w+|TOKEN_FILE)$/.test(name)) continue;
        const mounted = volumeMounts.some(({ mountPath, readOnly, subPath }: Json) => {
          return value.startsWith(`${mountPath}/`) && readOnly === true && subPath === undefined;
        });
        assert.ok(mounted, `${file}: ${name} lies in a volume`);
      }
    }
  });

  test('with mutual TLS: the callers’ authorities from their own Secret, or from the same', () => {
    const own = chart.renderFile('mtls-values.yaml').objects;
    const { spec } = own.get('deployment.yaml').spec.template;
    assert.equal(
      settingsOf(own.get('deployment.yaml')).VITSERVE_TLS_CLIENT_CA,
      '/etc/vitserve/client-ca/ca.crt',
    );
    assert.equal(volume(spec, 'client-ca').secret.secretName, 'callers');
    assert.equal(volume(spec, 'tls').secret.secretName, 'vitserve-certificate');
    const tester = own.get('tests/classify.yaml').spec;
    assert.equal(volume(tester, 'caller').secret.secretName, 'test-caller');
    assert.ok(tester.containers[0].args.includes('--tls-key=/etc/caller/tls.key'));

    const same = chart.renderFile('cert-manager-values.yaml').objects;
    assert.equal(
      settingsOf(same.get('deployment.yaml')).VITSERVE_TLS_CLIENT_CA,
      '/etc/vitserve/tls/ca.crt',
    );
  });

  test('cert-manager is asked for the names that callers and helm test use', () => {
    const { objects } = chart.renderFile('cert-manager-values.yaml');
    const { spec } = objects.get('certificate.yaml');
    const { secretName } = volume(objects.get('deployment.yaml').spec.template.spec, 'tls').secret;
    assert.equal(spec.secretName, secretName);
    assert.deepEqual(spec.issuerRef, {
      name: 'internal',
      kind: 'ClusterIssuer',
      group: 'cert-manager.io',
    });
    const [, called] =
      /--address=(.*):\d+$/.exec(objects.get('tests/classify.yaml').spec.containers[0].args[1]) ??
      [];
    for (const name of [
      called,
      'shop-vitserve-headless.vision.svc.cluster.local',
      'vision.example.com',
    ]) {
      assert.ok(spec.dnsNames.includes(name), String(name));
    }
    assert.ok(spec.usages.includes('client auth'), 'helm test calls with it');
  });

  test('tokens are a file of a Secret, for the server and for helm test', () => {
    const { objects } = chart.renderFile('tokens-values.yaml');
    const deployment = objects.get('deployment.yaml');
    assert.equal(settingsOf(deployment).VITSERVE_TOKEN_FILE, '/etc/vitserve/tokens/list');
    assert.equal(volume(deployment.spec.template.spec, 'tokens').secret.secretName, 'callers');
    const tester = objects.get('tests/classify.yaml').spec;
    assert.ok(tester.containers[0].args.includes('--token-file=/etc/tokens/list'));
    assert.ok(tester.containers[0].args.includes('--tls-ca=/etc/caller/ca.crt'));
  });

  test('models come from the image, a claim, or an init container', () => {
    const claimed = chart.renderFile('models-claim-values.yaml').objects.get('deployment.yaml');
    assert.equal(settingsOf(claimed).VITSERVE_MODEL_REPOSITORY, '/models/production');
    assert.deepEqual(volume(claimed.spec.template.spec, 'models').persistentVolumeClaim, {
      claimName: 'models',
      readOnly: true,
    });

    const filled = chart.renderFile('models-init-values.yaml').objects.get('deployment.yaml');
    assert.equal(settingsOf(filled).VITSERVE_MODEL_REPOSITORY, '/models');
    const [init] = filled.spec.template.spec.initContainers;
    assert.ok(
      init.volumeMounts.some(
        ({ name, mountPath }: Json) => name === 'models' && mountPath === '/models',
      ),
    );
    assert.deepEqual(volume(filled.spec.template.spec, 'models').emptyDir, { sizeLimit: '2Gi' });

    const plain = deploymentOf([]);
    assert.equal(
      settingsOf(plain).VITSERVE_MODEL_REPOSITORY,
      undefined,
      'the image knows where its own are',
    );
    for (const deployment of [claimed, filled]) {
      const mount = container(deployment).volumeMounts.find(({ name }: Json) => name === 'models');
      assert.deepEqual([mount.mountPath, mount.readOnly], ['/models', true]);
    }
  });

  test('one Service balances connections, the other names every pod', () => {
    const { objects } = chart.render();
    const [service, headless] = [
      objects.get('service.yaml').spec,
      objects.get('service-headless.yaml').spec,
    ];
    assert.deepEqual([service.type, headless.clusterIP], ['ClusterIP', 'None']);
    const portsOf = (spec: Json) => spec.ports.map(({ name, port }: Json) => `${name} ${port}`);
    assert.deepEqual(
      [portsOf(service), portsOf(headless)],
      [['grpc 50051'], ['grpc 50051', 'http 8080']],
    );
    const other = chart.renderFile('every-option-values.yaml').objects;
    assert.deepEqual(portsOf(other.get('service-headless.yaml').spec), ['grpc 9000', 'http 9001']);
  });

  test('the autoscaler asks for CPU time and permits, on GPUs for busy processes too, and sets the number alone', () => {
    const { objects } = chart.renderFile('autoscaling-values.yaml');
    const { spec } = objects.get('horizontalpodautoscaler.yaml');
    assert.deepEqual(
      [spec.minReplicas, spec.maxReplicas, spec.scaleTargetRef.name],
      [3, 20, 'shop-vitserve'],
    );
    const { resource } = spec.metrics[0];
    assert.deepEqual(resource, {
      name: 'cpu',
      target: { type: 'Utilization', averageUtilization: 70 },
    });
    const podMetrics = (of: Json) =>
      of.metrics
        .slice(1)
        .map(({ type, pods }: Json) => [type, pods.metric.name, pods.target.averageValue]);
    assert.deepEqual(podMetrics(spec), [['Pods', 'vitserve_permits_share', '0.5']]);
    assert.equal(objects.get('deployment.yaml').spec.replicas, undefined);

    const onGpus = chart.render(['--set', 'autoscaling.enabled=true,gpu.enabled=true']).objects;
    assert.deepEqual(podMetrics(onGpus.get('horizontalpodautoscaler.yaml').spec), [
      ['Pods', 'vitserve_inference_busy_share', '0.7'],
      ['Pods', 'vitserve_permits_share', '0.5'],
    ]);
  });

  test('each metric of the autoscaler may be left out', () => {
    const metricsOf = (template: string, ...sets: readonly string[]) => {
      const flags = ['autoscaling.enabled=true', ...sets].flatMap((each) => ['--set', each]);
      const { spec } = chart.render(flags).objects.get(template);
      return (spec.metrics ?? spec.triggers).map(({ type }: Json) => type);
    };
    const hpa = 'horizontalpodautoscaler.yaml';
    assert.deepEqual(metricsOf(hpa, 'autoscaling.permits=null'), ['Resource']);
    assert.deepEqual(metricsOf(hpa, 'autoscaling.cpu=null'), ['Pods']);
    const onGpus = ['gpu.enabled=true', 'autoscaling.busy=null', 'autoscaling.permits=null'];
    assert.deepEqual(metricsOf(hpa, ...onGpus), ['Resource']);
    const keda = ['autoscaling.keda.enabled=true', 'autoscaling.cpu=null'];
    assert.deepEqual(metricsOf('scaledobject.yaml', ...keda), ['prometheus']);
  });

  test('a rollout gives clients the time to find new pods, and fails after the time to start', () => {
    const specOf = (...sets: readonly string[]) =>
      deploymentOf(sets.flatMap((each) => ['--set', each])).spec;
    const { minReadySeconds, progressDeadlineSeconds, revisionHistoryLimit } = specOf();
    // gRPC clients ask DNS every 30 s at most.
    assert.ok(minReadySeconds > 30);
    assert.deepEqual([progressDeadlineSeconds, revisionHistoryLimit], [600, 3]);
    const slow = specOf('config.start-timeout=5m', 'minReadySeconds=60');
    assert.equal(slow.progressDeadlineSeconds, 3 * 300 + 60 + 60);
    const own = specOf('progressDeadlineSeconds=275', 'revisionHistoryLimit=0');
    assert.deepEqual([own.progressDeadlineSeconds, own.revisionHistoryLimit], [275, 0]);
  });

  test('takes the registry and the Secrets for it from the charts around it', () => {
    const sets = ['global.imageRegistry=registry.example/', 'global.imagePullSecrets[0]=a'];
    const more = ['global.imagePullSecrets[1].name=b', 'imagePullSecrets[0].name=b'];
    const flags = [...sets, ...more, 'enabled=true'].flatMap((each) => ['--set', each]);
    const { objects } = chart.render(flags);
    for (const spec of [
      objects.get('deployment.yaml').spec.template.spec,
      objects.get('tests/classify.yaml').spec,
    ]) {
      assert.match(spec.containers[0].image, /^registry\.example\/vitserve:/);
      assert.deepEqual(spec.imagePullSecrets, [{ name: 'a' }, { name: 'b' }]);
    }
  });

  test('KEDA asks Prometheus for the same, with metrics that there are, and no other autoscaler is there', () => {
    const { objects } = chart.renderFile('keda-values.yaml');
    assert.equal(objects.has('horizontalpodautoscaler.yaml'), false);
    const [cpu, ...triggers] = objects.get('scaledobject.yaml').spec.triggers;
    assert.deepEqual(cpu, { type: 'cpu', metricType: 'Utilization', metadata: { value: '70' } });
    assert.equal(triggers.length, 2);
    const declared = read('src/server/telemetry/metrics.ts');
    for (const { type, metadata, metricType } of triggers) {
      assert.equal(type, 'prometheus');
      assert.equal(metricType, 'AverageValue');
      assert.ok(Number(metadata.threshold) > 0);
      assert.match(metadata.query, /namespace="vision", pod=~"shop-vitserve-\.\*"/);
      for (const [name] of metadata.query.matchAll(/vitserve_\w+/g)) {
        assert.ok(declared.includes(`'${name.replace(/_sum$/, '')}'`), name);
      }
    }
  });

  test('monitors scrape the HTTP port; rules and dashboard are the files', () => {
    const { objects } = chart.renderFile('monitoring-values.yaml');
    const service = objects.get('servicemonitor.yaml').spec;
    const headless = objects.get('service-headless.yaml');
    assert.deepEqual(service.endpoints, [{ port: 'http', path: '/metrics', interval: '15s' }]);
    const chosen = Object.entries(service.selector.matchLabels);
    for (const [label, value] of chosen) assert.equal(headless.metadata.labels[label], value);
    const { labels } = objects.get('service.yaml').metadata;
    assert.ok(
      !chosen.every(([label, value]) => labels[label] === value),
      'one of the Services alone',
    );
    assert.equal(objects.get('servicemonitor.yaml').metadata.labels.release, 'prometheus');
    assert.deepEqual(objects.get('podmonitor.yaml').spec.podMetricsEndpoints, service.endpoints);

    const { groups } = objects.get('prometheusrule.yaml').spec;
    const rules = groups.flatMap((group: Json) =>
      group.rules.map(({ alert, record }: Json) => alert ?? record),
    );
    const written = [
      ...read('helm/vitserve/rules/vitserve.yaml').matchAll(/^ *- (?:alert|record): (.*)$/gm),
    ];
    assert.deepEqual(
      rules,
      written.map(([, name]) => name),
    );
    const { data, metadata } = objects.get('dashboard.yaml');
    assert.deepEqual(
      JSON.parse(data['vitserve.json']),
      readJson('helm/vitserve/dashboards/vitserve.json'),
    );
    assert.equal(metadata.labels.grafana_dashboard, '1');
  });

  test('with a network policy callers reach gRPC, Prometheus HTTP, and nothing goes out unless said', () => {
    const { spec } = chart
      .renderFile('networkpolicy-values.yaml')
      .objects.get('networkpolicy.yaml');
    assert.deepEqual(spec.policyTypes, ['Ingress', 'Egress']);
    assert.deepEqual(spec.egress, []);
    const [grpc, http] = spec.ingress;
    assert.deepEqual(
      [grpc.ports[0].port, http.ports[0].port, spec.ingress.length],
      ['grpc', 'http', 2],
    );
    assert.equal(grpc.from[0].podSelector.matchLabels.app, 'gateway');
    const { labels } = chart.render().objects.get('tests/classify.yaml').metadata;
    for (const [label, value] of Object.entries(grpc.from[1].podSelector.matchLabels)) {
      assert.equal(labels[label], value, 'helm test is let in');
    }
    const fetching = chart
      .renderFile('models-init-values.yaml')
      .objects.get('networkpolicy.yaml').spec;
    assert.deepEqual(
      fetching.egress.map(({ ports }: Json) => ports.map(({ port }: Json) => port)),
      [[53, 53], [443]],
    );
    const probed = chart.renderFile('mtls-values.yaml').objects.get('networkpolicy.yaml').spec;
    assert.deepEqual(
      probed.ingress[2].ports.map(({ port }: Json) => port),
      ['health', 'http'],
    );
  });

  test('pods may be moved one at a time', () => {
    const budget = chart.render().objects.get('poddisruptionbudget.yaml').spec;
    assert.deepEqual(
      [budget.maxUnavailable, budget.unhealthyPodEvictionPolicy],
      [1, 'AlwaysAllow'],
    );
    const none = chart.renderFile('simulated-values.yaml').objects;
    assert.equal(none.has('poddisruptionbudget.yaml'), false);
    assert.equal(none.get('deployment.yaml').spec.template.spec.serviceAccountName, 'default');
  });

  test(`Kubernetes ${KUBERNETES_VERSIONS.join(', ')}: every object is as their schemas want it`, {
    skip: python === null ? 'no Python with kubernetes-validate (tools/requirements.txt)' : false,
  }, () => {
    const validate = (objects: readonly Json[], versions: readonly string[]): Json => {
      const script = join(REPOSITORY, 'test/contract/kubernetes_schemas.py');
      const input = JSON.stringify({ versions, objects });
      const { stdout, stderr } = spawnSync(python ?? '', [script], { input, encoding: 'utf8' });
      assert.notEqual(stdout, '', stderr);
      return JSON.parse(stdout);
    };
    const objects = valuesFiles().flatMap((file) => [...chart.renderFile(file).objects.values()]);
    const { checked, problems, unknown } = validate(objects, KUBERNETES_VERSIONS);
    assert.deepEqual(problems, []);
    assert.deepEqual(unknown, FOREIGN);
    const ours = objects.filter(({ kind }) => !FOREIGN.includes(kind));
    assert.equal(checked, ours.length * KUBERNETES_VERSIONS.length);
    const spoilt = structuredClone(objects.find(({ kind }) => kind === 'Deployment'));
    container(spoilt).securtyContext = {};
    assert.match(validate([spoilt], [KUBERNETES_VERSIONS[0]]).problems.join(), /securtyContext/);
  });
});
