//! What a page says beyond the gauges: LoRA adapters, and values under names of the configuration's own.

use std::sync::Arc;

use pointsman_core::model::reported::{LoraAdapters, Reported};

use crate::prometheus::series::{Series, number};

const RUNNING: &str = "running_lora_adapters";
const WAITING: &str = "waiting_lora_adapters";
const MOST: &str = "max_lora";

/// Collects it, line by line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The latest list of adapters, and its time.
    lora: Option<(f64, LoraAdapters)>,
    /// Values with their timestamps.
    attributes: Vec<(Arc<str>, f64, Option<f64>)>,
}

impl Report {
    /// Takes in a list of adapters; the one whose value, a time, is the largest counts, the first on ties.
    pub(crate) fn lora(&mut self, series: &Series<'_>) {
        let later = |(time, _): &(f64, LoraAdapters)| series.value > *time;
        if series.value.is_nan() || !self.lora.as_ref().is_none_or(later) {
            return;
        }
        let list = |label: &str| -> Vec<String> {
            let text = String::from_utf8_lossy(series.label(label).unwrap_or_default());
            let names = text.split(',').map(str::trim);
            names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let most = series.label(MOST).and_then(number).unwrap_or(0.0);
        let adapters = LoraAdapters {
            running: list(RUNNING),
            waiting: list(WAITING),
            // A number that is none, or too large, saturates.
            most: most as u32,
        };
        self.lora = Some((series.value, adapters));
    }

    /// Takes in a value; of several series the one with the largest timestamp counts, the first on ties.
    pub(crate) fn attribute(&mut self, name: &Arc<str>, series: &Series<'_>) {
        let known = self.attributes.iter_mut().find(|(known, ..)| known == name);
        match known {
            None => {
                let entry = (Arc::clone(name), series.value, series.stamp);
                self.attributes.push(entry);
            }
            Some((_, value, stamp)) if series.stamp > *stamp => {
                (*value, *stamp) = (series.value, series.stamp);
            }
            Some(_) => {}
        }
    }

    /// What the page said; values that are no finite number are left out.
    pub(crate) fn take(&mut self) -> Reported {
        let attributes = self.attributes.drain(..);
        Reported {
            lora: self.lora.take().map(|(_, adapters)| adapters),
            attributes: attributes
                .filter(|(_, value, _)| value.is_finite())
                .map(|(name, value, _)| (name, value))
                .collect(),
        }
    }
}
