/*
 * What Grafana's own types say that a dashboard is, for its JSON.
 *
 * The test writes the dashboard into a file beside this one, as "const dashboard: DashboardJson = { ... }", and has it
 * compiled: a field that Grafana does not know, one that is missing, and a value that is none of those that there are, is
 * an error.  Grafana's types describe its programs, where "multi" is TooltipDisplayMode.Multi; Json<> makes of them the
 * types of the text, where it is "multi".  What a panel's options are depends on its kind, so each kind that the dashboard
 * may have is named here.
 */
import type { AnnotationQuery, Dashboard, FieldConfigSource, Panel, VariableModel } from '@grafana/schema';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type {
  FieldConfig as TableFieldConfig,
  Options as TableOptions,
} from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type {
  FieldConfig as TimeSeriesFieldConfig,
  Options as TimeSeriesOptions,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/* The values of enums as they are written. */
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends Array<infer U>
      ? Array<Json<U>>
      : T extends object
        ? { [K in keyof T]: Json<T[K]> }
        : T;

/* A query of Prometheus in a panel, as its editor writes it. */
interface Target {
  datasource: { type: 'prometheus'; uid: '${datasource}' };
  editorMode: 'code';
  expr: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  legendFormat: string;
  range: boolean;
  refId: string;
}

type PanelOf<Kind extends string, Options, FieldConfig> = Omit<Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> & {
  type: Kind;
  options: Options;
  fieldConfig: FieldConfigSource<FieldConfig>;
};
type WithTargets<T> = Json<T> & { targets: Target[] };
type AnyPanel =
  | WithTargets<PanelOf<'stat', StatOptions, Record<string, never>>>
  | WithTargets<PanelOf<'table', TableOptions, Partial<TableFieldConfig>>>
  | WithTargets<PanelOf<'timeseries', TimeSeriesOptions, TimeSeriesFieldConfig>>;

/* Prometheus' annotations have words of their own. */
type Annotation = Json<Omit<AnnotationQuery, 'target'>> & {
  target: { expr: string; refId: string };
  titleFormat: string;
  textFormat: string;
};

export type DashboardJson = Json<Omit<Dashboard, 'panels' | 'annotations' | 'templating'>> & {
  panels: AnyPanel[];
  annotations: { list: Annotation[] };
  templating: { list: Array<Json<VariableModel>> };
};
