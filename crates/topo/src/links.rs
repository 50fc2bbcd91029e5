//! What GPUs are called, what their products imply, and how fast links are.

/// GB/s of one NVLink, both directions together, by the GPU's generation.
///
/// A bonded pair of H100 NVL has 12 links of 50 GB/s, hence the 600 GB/s that its makers name; an H100 SXM has 18.
#[must_use]
pub fn nvlink_gb_per_s(gpu: &str) -> f64 {
    let name = gpu.to_ascii_uppercase();
    let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if is(&["B200", "B300", "B100"]) {
        100.0
    } else if is(&["P100"]) {
        40.0
    } else if is(&["A6000", "A5000", "A4500", "A40", "3090"]) && !is(&["A400", "A4000"]) {
        28.125
    } else {
        50.0
    }
}

/// What a product's name alone says about NVLink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implied {
    /// A board that is only made with NVSwitch or a full mesh: every GPU of the node is linked, by so many links.
    All(u32),
    /// A card that is sold with a bridge between two.
    Pairs(u32),
    /// Nothing is implied.
    Nothing,
}

/// What the product's name implies.
#[must_use]
pub fn implied(gpu: &str) -> Implied {
    let name = gpu.to_ascii_uppercase();
    let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if is(&["PCIE"]) {
        Implied::Nothing
    } else if is(&["H100-NVL", "H100 NVL"]) {
        Implied::Pairs(12)
    } else if is(&["H200-NVL", "H200 NVL"]) {
        Implied::Pairs(18)
    } else if is(&["GB200", "GB300", "B200", "B300"])
        || is(&[
            "H200",
            "H100-80GB-HBM3",
            "H100 80GB HBM3",
            "H100-SXM",
            "H100-MEGA",
        ])
    {
        Implied::All(18)
    } else if is(&["A100-SXM", "A100 SXM"]) {
        Implied::All(12)
    } else if is(&["H800", "A800-SXM", "H20-", "H20 "]) {
        Implied::All(8)
    } else {
        Implied::Nothing
    }
}

/// What the name of an accelerator on GKE implies: these machine types are made with one board only.
#[must_use]
pub fn implied_on_gke(accelerator: &str) -> Implied {
    match accelerator {
        "nvidia-h100-80gb"
        | "nvidia-h100-mega-80gb"
        | "nvidia-h200-141gb"
        | "nvidia-b200"
        | "nvidia-gb200" => Implied::All(18),
        "nvidia-tesla-a100" | "nvidia-a100-80gb" => Implied::All(12),
        _ => Implied::Nothing,
    }
}

/// A product's name without the maker, spaces as hyphens: `H100-NVL`.
#[must_use]
pub fn short_name(gpu: &str) -> String {
    let bare = gpu.trim();
    let bare = bare.strip_prefix("NVIDIA").unwrap_or(bare);
    let bare = bare.trim_start_matches([' ', '-']).replace(' ', "-");
    if bare.is_empty() {
        "GPU".to_owned()
    } else {
        bare
    }
}

/// The digits of a speed such as `400G` or `400`, in Gbit/s.
#[must_use]
pub fn gbps_of(text: &str) -> Option<f64> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .ok()
        .filter(|n: &f64| *n > 0.0 && n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_those_that_the_makers_name() {
        for (gpu, links, expected) in [
            ("NVIDIA H100 NVL", 12.0, 600.0),
            ("NVIDIA-H100-80GB-HBM3", 18.0, 900.0),
            ("NVIDIA B200", 18.0, 1800.0),
            ("NVIDIA RTX A6000", 4.0, 112.5),
            ("NVIDIA A100-SXM4-80GB", 12.0, 600.0),
        ] {
            assert_eq!(nvlink_gb_per_s(gpu) * links, expected, "{gpu}");
        }
    }

    #[test]
    fn products_imply_what_they_are_made_with() {
        for (gpu, expected) in [
            ("NVIDIA-H100-NVL", Implied::Pairs(12)),
            ("NVIDIA-H100", Implied::Nothing),
            ("NVIDIA-H100-PCIe", Implied::Nothing),
            ("NVIDIA-H100-80GB-HBM3", Implied::All(18)),
            ("nvidia-h100-80gb", Implied::Nothing),
            ("NVIDIA-A100-SXM4-40GB", Implied::All(12)),
            ("Tesla-T4", Implied::Nothing),
        ] {
            assert_eq!(implied(gpu), expected, "{gpu}");
        }
        assert_eq!(short_name("NVIDIA H100 NVL"), "H100-NVL");
        assert_eq!(short_name("NVIDIA-H100"), "H100");
        assert_eq!(gbps_of("400G"), Some(400.0));
        assert_eq!(gbps_of("fast"), None);
    }
}
