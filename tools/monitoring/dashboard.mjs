// The Grafana dashboard as JSON, from the rows in rows.mjs. `npm run generate` writes it to
// helm/vitserve/dashboards/vitserve.json.
import { ROWS } from './rows.mjs';

const TYPES = { line: 'timeseries', stat: 'stat', table: 'table' };
/** Of the 24 columns, by how many such panels stand in a row of the dashboard, and lines. */
const sizeOf = (kind, wide) => (kind === 'stat' ? [4, 4] : [wide % 4 === 0 ? 6 : 8, 7]);
const DATASOURCE = { type: 'prometheus', uid: '$datasource' };

function panel([kind, title, unit, description, ...targets], id, gridPos) {
  return {
    id,
    type: TYPES[kind],
    title,
    description,
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: {
        unit,
        ...(kind === 'line' ? { min: 0, custom: { fillOpacity: 8, showPoints: 'never' } } : {}),
      },
      overrides: [],
    },
    options:
      kind === 'line'
        ? {
            tooltip: { mode: 'multi', sort: 'desc' },
            legend: { displayMode: 'list', placement: 'bottom' },
          }
        : {},
    targets: targets.map(([legendFormat, expr], index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: DATASOURCE,
      expr,
      legendFormat,
      ...(kind === 'line' ? {} : { instant: true }),
      ...(kind === 'table' ? { format: 'table' } : {}),
    })),
  };
}

function variable(name, query) {
  return {
    name,
    label: name,
    type: 'query',
    datasource: DATASOURCE,
    query,
    refresh: 2,
    includeAll: true,
    multi: true,
    allValue: '.*',
    current: { text: 'All', value: '$__all' },
  };
}

export function renderDashboard() {
  const panels = [];
  let y = 0;
  for (const [title, members] of ROWS) {
    panels.push({
      id: panels.length + 1,
      type: 'row',
      title,
      collapsed: false,
      gridPos: { x: 0, y: y++, w: 24, h: 1 },
      panels: [],
    });
    const wide = members.filter(([kind]) => kind !== 'stat').length;
    let x = 0;
    let height = 0;
    for (const member of members) {
      const [w, h] = sizeOf(member[0], wide);
      if (x + w > 24 || (height > 0 && h !== height)) {
        x = 0;
        y += height;
      }
      height = h;
      panels.push(panel(member, panels.length + 1, { x, y, w, h }));
      x += w;
    }
    y += height;
  }
  const dashboard = {
    uid: 'vitserve',
    title: 'vitserve',
    description:
      'Calls from admission to reply, and what they run on. Generated; docs/operate/monitoring.md says how to read it.',
    tags: ['vitserve'],
    schemaVersion: 39,
    editable: true,
    refresh: '30s',
    time: { from: 'now-1h', to: 'now' },
    templating: {
      list: [
        {
          name: 'datasource',
          label: 'data source',
          type: 'datasource',
          query: 'prometheus',
          current: {},
        },
        variable('job', 'label_values(vitserve_state, job)'),
        variable('instance', 'label_values(vitserve_state{job=~"$job"}, instance)'),
      ],
    },
    panels,
  };
  return `${JSON.stringify(dashboard, undefined, 2)}\n`;
}
