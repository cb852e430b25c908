/** What is generated from the option tables is complete and true. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { COMMAND_NAMES, COMMANDS } from '#vitserve/cli/commands.js';
import { EXAMPLE_CONFIG, renderConfigurationDoc } from '#vitserve/cli/document.js';
import { asksForHelp, commandHelp, generalHelp } from '#vitserve/cli/help.js';
import { loadServeSettings } from '#vitserve/cli/load.js';
import { nearestName } from '#vitserve/cli/nearest.js';
import { environmentName, type OptionRow } from '#vitserve/cli/option.js';

const UNITS: Partial<Record<OptionRow['type']['kind'], string>> = { duration: 'Ms' };

describe('the option tables', () => {
  for (const command of COMMAND_NAMES) {
    const { options } = COMMANDS[command];

    test(`${command}: names follow from each other`, () => {
      assert.equal(new Set(options.map(({ name }) => name)).size, options.length);
      for (const { name, property, type } of options) {
        assert.match(name, /^[a-z]+(-[a-z]+)*$/);
        const camelCase = name.replace(/-[a-z]/g, (match) => match.slice(1).toUpperCase());
        assert.equal(property, camelCase + (UNITS[type.kind] ?? ''));
        if (type.kind === 'bytes') assert.match(property, /Bytes$/);
        assert.match(environmentName({ name }), /^VITSERVE_[A-Z]+(_[A-Z]+)*$/);
      }
    });

    test(`${command}: an option accepts its own default, and its texts are sentences`, () => {
      for (const option of options) {
        const { name, type } = option;
        if (option.default !== null && option.default !== undefined) {
          assert.deepEqual(type.parse(type.format(option.default)), option.default, name);
        }
        assert.match(option.summary, /^[A-Z0-9].*\.$/, name);
        assert.ok(option.summary.length <= 94, `${name}: one line of --help`);
        // A terminal would show the backquotes.
        assert.doesNotMatch(option.summary, /`|\n/, name);
      }
    });

    test(`${command}: every option is in the help and in the documentation`, () => {
      const help = commandHelp(command);
      const page = renderConfigurationDoc();
      for (const option of options) {
        assert.ok(
          help.includes(
            `\n  --${option.type.kind === 'boolean' ? '[no-]' : ''}${option.name} `.trimEnd(),
          ),
          option.name,
        );
        assert.ok(help.includes(`Environment: ${environmentName(option)}.`), option.name);
        const anchor = `${command === 'serve' ? '' : `${command}-`}--${option.name}`;
        const row = `| <a id="${anchor}"></a>\`${option.name}\` | `;
        assert.equal(page.split(row).length, 2, option.name);
      }
    });
  }

  test('an option that commands share has one type, so that its variable suits both', () => {
    for (const option of COMMANDS.classify.options) {
      const shared = COMMANDS.serve.options.find(({ name }) => name === option.name);
      if (shared !== undefined) assert.equal(shared.type.kind, option.type.kind);
    }
  });
});

describe('help', () => {
  test('no line is wider than 100 columns or ends in a blank', () => {
    for (const text of [generalHelp(), ...COMMAND_NAMES.map(commandHelp)]) {
      for (const line of text.split('\n')) assert.match(line, /^(.{0,99}\S)?$/);
      assert.ok(text.endsWith('\n') && !text.endsWith('\n\n'));
    }
  });

  test('an option has its default and its variable in the help', () => {
    assert.ok(
      commandHelp('serve').includes(
        [
          '  --drain-timeout DURATION',
          '      How long admitted calls may take to finish at stop. The rest is cancelled.',
          '      Default: 30s. Environment: VITSERVE_DRAIN_TIMEOUT.',
          '',
        ].join('\n'),
      ),
    );
  });

  test('every command is in the general help', () => {
    for (const command of COMMAND_NAMES)
      assert.match(generalHelp(), new RegExp(`^  ${command} +[A-Z].*\\.$`, 'm'));
  });

  test('help is recognised anywhere before --', () => {
    assert.ok(asksForHelp(['--permits', '4', '--help']));
    assert.ok(asksForHelp(['-h']));
    assert.ok(!asksForHelp([]));
    assert.ok(!asksForHelp(['a.jpg', '--', '--help']));
  });
});

describe('the documentation', () => {
  test('its example is a config file that loads', () => {
    const page = renderConfigurationDoc();
    const [, example] = /```json\n(.*?)\n```/s.exec(page) ?? [];
    assert.deepEqual(JSON.parse(example ?? ''), EXAMPLE_CONFIG);
    const { changes } = loadServeSettings(
      ['--config=a.json'],
      {},
      { cwd: '/', readFile: () => example ?? '' },
    );
    assert.equal(changes.length, Object.keys(EXAMPLE_CONFIG).length + 1);
  });

  test('its links lead to rows, and anchors are unique', () => {
    const page = renderConfigurationDoc();
    const anchors = [...page.matchAll(/<a id="([^"]*)">/g)].map(([, anchor]) => anchor);
    assert.equal(new Set(anchors).size, anchors.length);
    for (const [, anchor = ''] of page.matchAll(/\]\(#([^)]*)\)/g))
      assert.ok(anchors.includes(anchor), anchor);
  });

  test('it names no folder of the machine it was written on, and ends with the exit codes', () => {
    const page = renderConfigurationDoc();
    assert.ok(!page.includes(process.cwd()));
    assert.match(
      page,
      /## Exit codes\n\n\| Code \| Meaning \|\n\|---\|---\|\n\| 0 \| .*\n\| 1 \| .*\n\| 2 \| .*\n\| 141 \| .*\n$/,
    );
  });
});

describe('the nearest name', () => {
  const known = ['permits', 'model-repository', 'default-model', 'max-batch-size'];
  test('is one that differs by a typing error', () => {
    assert.equal(nearestName('permit', known), 'permits');
    assert.equal(nearestName('defualt-model', known), 'default-model');
    assert.equal(nearestName('maxbatchsize', known), 'max-batch-size');
    assert.equal(nearestName('permits', known), 'permits');
  });
  test('does not exist if all are other words', () => {
    assert.equal(nearestName('port', known), undefined);
    assert.equal(nearestName('', known), undefined);
  });
});
