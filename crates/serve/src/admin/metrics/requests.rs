//! The families of requests and decisions, summed over the workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use pointsman_core::schedule::plan::Plan;

use crate::admin::metrics::page::{Page, Row, Value};
use crate::metrics::catalogue as family;
use crate::metrics::catalogue::own as own_family;
use crate::metrics::cells::{ERROR_CODES, PD_WORDS, SeriesCells};
use crate::metrics::family::Family;
use crate::metrics::histogram::{Histogram, Summed};
use crate::metrics::names::Series;
use crate::router::{Lane, Router};

/// Which histogram of some cells.
type Of<T> = fn(&T) -> &Histogram;

/// Writes the families.
pub(crate) fn write(router: &Router, plan: &Plan, page: &mut Page) {
    let lanes = router.lanes();
    let mut models: BTreeMap<Series, Vec<Arc<SeriesCells>>> = BTreeMap::new();
    for lane in &lanes {
        for cells in lane.cells.tables.lock().all_series() {
            let all = models.entry(cells.series.clone()).or_default();
            all.push(Arc::clone(cells));
        }
    }
    let models = Models(models);
    models.counts(page, &family::REQUESTS, false, |cells| {
        cells.scheduled.get()
    });
    models.errors(page);
    let histograms: [(&Family, Of<SeriesCells>); 7] = [
        (&family::REQUEST_DURATION, |cells| &cells.duration),
        (&family::REQUEST_SIZE, |cells| &cells.request_size),
        (&family::RESPONSE_SIZE, |cells| &cells.response_size),
        (&family::INPUT_TOKENS, |cells| &cells.input_tokens),
        (&family::OUTPUT_TOKENS, |cells| &cells.output_tokens),
        (&family::CACHED_TOKENS, |cells| &cells.cached_tokens),
        (&family::PER_TOKEN, |cells| &cells.per_token),
    ];
    for (family, of) in histograms {
        models.histograms(page, family, &[], of);
    }
    // A request under way began before it ended; read in this order the difference is never below zero.
    models.counts(page, &family::RUNNING, true, |cells| {
        let ended = cells.ended.get();
        cells.begun.get().saturating_sub(ended)
    });
    let mut first_token = Vec::new();
    for (at, streamed) in ["false", "true"].into_iter().enumerate() {
        first_token.extend(models.rows_of(&[streamed], |cells| &cells.first_token[at]));
    }
    page.add(&family::FIRST_TOKEN, first_token);
    models.histograms(page, &family::STREAMED_PER_TOKEN, &[], |cells| {
        &cells.streamed_per_token
    });
    models.histograms(page, &family::BETWEEN_TOKENS, &[], |cells| {
        &cells.between_tokens
    });
    lane_histogram(page, &family::SCHEDULING, &lanes, |lane| {
        &lane.cells.scheduling
    });
    attempts(page, &lanes, &models);
    plugins(page, &lanes);
    lane_histogram(page, &family::REQUEST_PROCESSING, &lanes, |lane| {
        &lane.cells.request_processing
    });
    lane_histogram(page, &family::RESPONSE_PROCESSING, &lanes, |lane| {
        &lane.cells.response_processing
    });
    models.pd(page, plan);
    rewrites(page, &lanes);
    producers(page, &lanes);
    let directions: [(&str, Of<Lane>); 2] = [
        ("late", |lane| &lane.cells.late),
        ("early", |lane| &lane.cells.early),
    ];
    let rows = directions.into_iter().filter_map(|(word, of)| {
        let summed = sum(lanes.iter().map(|lane| of(lane)))?;
        Some((vec![word.to_owned()], Value::Buckets(summed)))
    });
    page.add(&own_family::PREDICTION_ERROR, rows.collect());
}

/// Cells by series, one entry per worker that has met it.
struct Models(BTreeMap<Series, Vec<Arc<SeriesCells>>>);

impl Models {
    fn each(&self) -> impl Iterator<Item = (Vec<String>, &[Arc<SeriesCells>])> {
        self.0.iter().map(|(series, cells)| {
            let priority = series.priority.to_string();
            let labels = [&*series.model, &series.target, &series.flow, &priority];
            (labels.map(str::to_owned).to_vec(), cells.as_slice())
        })
    }

    /// A request may name no model; then it has a series once it counts, unless `named` wants models with names alone.
    fn counts(
        &self,
        page: &mut Page,
        family: &Family,
        named: bool,
        of: impl Fn(&SeriesCells) -> u64,
    ) {
        let rows = self.each().filter_map(|(labels, cells)| {
            let sum: u64 = cells.iter().map(|cells| of(cells)).sum();
            let shown = !labels[0].is_empty() || (sum > 0 && !named);
            shown.then_some((labels, Value::Number(sum as f64)))
        });
        page.add(family, rows.collect());
    }

    fn errors(&self, page: &mut Page) {
        let mut rows: Vec<Row> = Vec::new();
        for (labels, cells) in self.each() {
            for (at, code) in ERROR_CODES.into_iter().enumerate() {
                let sum: u64 = cells.iter().map(|cells| cells.errors[at].get()).sum();
                if sum > 0 {
                    let labels = [labels.as_slice(), &[code.to_owned()]].concat();
                    rows.push((labels, Value::Number(sum as f64)));
                }
            }
        }
        page.add(&family::REQUEST_ERRORS, rows);
    }

    fn rows_of(&self, more: &[&str], of: impl Fn(&SeriesCells) -> &Histogram) -> Vec<Row> {
        let more: Vec<String> = more.iter().map(|label| (*label).to_owned()).collect();
        self.each()
            .filter_map(|(labels, cells)| {
                let summed = sum(cells.iter().map(|cells| of(cells)))?;
                Some(([labels, more.clone()].concat(), Value::Buckets(summed)))
            })
            .collect()
    }

    fn histograms(
        &self,
        page: &mut Page,
        family: &Family,
        more: &[&str],
        of: impl Fn(&SeriesCells) -> &Histogram,
    ) {
        page.add(family, self.rows_of(more, of));
    }

    fn pd(&self, page: &mut Page, plan: &Plan) {
        for family in [&family::PD_DECISIONS, &family::DISAGG_DECISIONS] {
            let mut rows = Vec::new();
            for (series, cells) in &self.0 {
                for (at, word) in PD_WORDS.into_iter().enumerate() {
                    let sum: u64 = cells.iter().map(|cells| cells.pd[at].get()).sum();
                    if sum > 0 {
                        let labels = [&plan.handler.name, plan.handler.kind, &series.target, word];
                        let labels = labels.map(str::to_owned).to_vec();
                        rows.push((labels, Value::Number(sum as f64)));
                    }
                }
            }
            page.add(family, rows);
        }
    }
}

/// The sum of histograms; `None` where there is nothing in them.
fn sum<'a>(mut all: impl Iterator<Item = &'a Histogram>) -> Option<Summed> {
    let mut summed = Summed::of(all.next()?);
    all.for_each(|histogram| summed.add(histogram));
    (summed.count() > 0).then_some(summed)
}

fn lane_histogram(
    page: &mut Page,
    family: &Family,
    lanes: &[Arc<Lane>],
    of: impl Fn(&Lane) -> &Histogram,
) {
    let summed = sum(lanes.iter().map(|lane| of(lane)));
    let rows = summed.map(|summed| (Vec::new(), Value::Buckets(summed)));
    page.add(family, rows.into_iter().collect());
}

fn attempts(page: &mut Page, lanes: &[Arc<Lane>], models: &Models) {
    let mut rows: Vec<Row> = Vec::new();
    for lane in lanes {
        for cells in lane.cells.tables.lock().endpoints.values() {
            let (namespace, name) = split(&cells.name);
            for (model, picks) in &cells.picks {
                let port = cells.port.to_string();
                let labels = ["success", model, name, namespace, &port];
                let labels = labels.map(str::to_owned).to_vec();
                rows.push((labels, Value::Number(*picks as f64)));
            }
        }
    }
    for (series, cells) in &models.0 {
        let failed: u64 = cells.iter().map(|cells| cells.unpicked.get()).sum();
        if failed > 0 {
            let labels = ["failure", &series.target, "", "", ""]
                .map(str::to_owned)
                .to_vec();
            rows.push((labels, Value::Number(failed as f64)));
        }
    }
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    page.add(&family::ATTEMPTS, rows);
}

fn plugins(page: &mut Page, lanes: &[Arc<Lane>]) {
    let mut rows: Vec<Row> = Vec::new();
    for lane in lanes {
        for cells in &lane.cells.tables.lock().plugins {
            let labels = [cells.point, cells.kind, &cells.name].map(str::to_owned);
            rows.push((labels.to_vec(), Value::Buckets(Summed::of(&cells.took))));
        }
    }
    page.add(&family::PLUGIN_DURATION, rows);
}

fn rewrites(page: &mut Page, lanes: &[Arc<Lane>]) {
    let mut sums: BTreeMap<[Arc<str>; 3], u64> = BTreeMap::new();
    for lane in lanes {
        for (key, count) in &lane.cells.tables.lock().rewrites {
            *sums.entry(key.clone()).or_default() += count;
        }
    }
    let row = |(key, count): ([Arc<str>; 3], u64)| {
        let labels = key.iter().map(ToString::to_string).collect();
        (labels, Value::Number(count as f64))
    };
    page.add(&family::REWRITES, sums.into_iter().map(row).collect());
}

fn producers(page: &mut Page, lanes: &[Arc<Lane>]) {
    let (mut ratios, mut bytes): (Vec<Row>, Vec<Row>) = (Vec::new(), Vec::new());
    for lane in lanes {
        for cells in &lane.cells.tables.lock().producers {
            let labels = [&cells.name, cells.kind].map(str::to_owned).to_vec();
            let (ratio, size) = (Summed::of(&cells.ratio), Summed::of(&cells.bytes));
            ratios.push((labels.clone(), Value::Buckets(ratio)));
            bytes.push((labels, Value::Buckets(size)));
        }
    }
    page.add(&family::PREFIX_RATIO, ratios);
    page.add(&family::PREFIX_BYTES, bytes);
}

/// Namespace and name of a full name.
pub(crate) fn split(full: &str) -> (&str, &str) {
    full.split_once('/').unwrap_or(("", full))
}
