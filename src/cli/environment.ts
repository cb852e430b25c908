/**
 * The environment as given values. Only variables that start with `VITSERVE_` are read, and no
 * others are ever printed. An empty one counts as unset: that is how shells, Compose files and
 * charts leave a variable out.
 */

import { COMMAND_NAMES, COMMANDS } from './commands.js';
import { type GivenValue, oneLine } from './given.js';
import { nearestName } from './nearest.js';
import { environmentName, type OptionRow } from './option.js';

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Kubernetes announces every Service of the namespace to every pod in variables named after it. For
 * a Service called `vitserve` these start like ours; rejecting them would keep the server from
 * starting beside its own Service.
 * https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
const SERVICE_LINK_NAME =
  /_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$/;
const SERVICE_LINK_VALUE = /^(tcp|udp|sctp):\/\//;

export function readEnvironment(
  command: string,
  options: readonly OptionRow[],
  env: Environment,
): { readonly given: readonly GivenValue[]; readonly problems: readonly string[] } {
  const given: GivenValue[] = [];
  for (const option of options) {
    const where = environmentName(option);
    const value = env[where];
    if (value !== undefined && value !== '')
      given.push({ option, source: 'environment', where, value });
  }

  // The commands share an environment, so a variable of any command is a known one.
  const known = new Set(
    COMMAND_NAMES.flatMap((name) => COMMANDS[name].options.map(environmentName)),
  );
  const problems: string[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('VITSERVE_') || known.has(name) || value === undefined || value === '')
      continue;
    if (SERVICE_LINK_NAME.test(name) || (name.endsWith('_PORT') && SERVICE_LINK_VALUE.test(value)))
      continue;
    const nearest = nearestName(
      name.slice('VITSERVE_'.length),
      [...known].map((other) => other.slice('VITSERVE_'.length)),
    );
    const hint =
      nearest === undefined
        ? `see vitserve ${command} --help`
        : `did you mean VITSERVE_${nearest}?`;
    problems.push(`unknown variable ${oneLine(name)}: ${hint}`);
  }
  return { given, problems: problems.sort() };
}
