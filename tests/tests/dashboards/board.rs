//! A dashboard as Grafana reads it.

use serde_json::{Value, json};

use crate::query::Query;

/// A panel with lines over time.
pub struct Panel {
    pub title: &'static str,
    /// What it shows, for who hovers over it.
    pub about: &'static str,
    pub unit: &'static str,
    /// Query and legend.
    pub lines: Vec<(Query, &'static str)>,
}

/// Panels under a heading.
pub struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

const WIDTH: usize = 24;
const HEIGHT: usize = 8;

/// The dashboard.
pub fn dashboard(uid: &str, title: &str, about: &str, rows: &[Row]) -> Value {
    let mut panels = Vec::new();
    let (mut id, mut y) = (0, 0);
    for row in rows {
        id += 1;
        panels.push(json!({
            "id": id,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            "panels": [],
        }));
        y += 1;
        for line in row.panels.chunks(3) {
            let width = WIDTH / line.len();
            for (at, panel) in line.iter().enumerate() {
                id += 1;
                panels.push(self::panel(
                    panel,
                    id,
                    json!({"h": HEIGHT, "w": width, "x": at * width, "y": y}),
                ));
            }
            y += HEIGHT;
        }
    }
    json!({
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["pointsman", "llm"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {
                "name": "datasource",
                "type": "datasource",
                "label": "Data source",
                "query": "prometheus",
                "hide": 0,
            },
            {
                "name": "job",
                "type": "query",
                "label": "Job",
                "datasource": source(),
                "query": "label_values(llm_d_epp_info, job)",
                "definition": "label_values(llm_d_epp_info, job)",
                "refresh": 2,
                "multi": true,
                "includeAll": true,
                "allValue": ".*",
                "current": {"text": "All", "value": "$__all"},
                "hide": 0,
            },
        ]},
        "annotations": {"list": []},
        "panels": panels,
    })
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn panel(panel: &Panel, id: usize, place: Value) -> Value {
    let targets: Vec<Value> = ('A'..)
        .zip(&panel.lines)
        .map(|(letter, (query, legend))| {
            json!({
                "refId": letter.to_string(),
                "datasource": source(),
                "expr": query.text,
                "legendFormat": legend,
                "range": true,
            })
        })
        .collect();
    json!({
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": source(),
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "custom": {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false},
            },
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": targets,
    })
}
