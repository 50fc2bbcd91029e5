//! Pages of metrics, as far as checks read them.

/// The sum of a family's values, over series whose labels hold a text; none where there is no such series.
pub fn sum(page: &str, family: &str, label: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(family)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None if rest.starts_with(' ') => ("", rest),
            None => return None,
        };
        if !labels.contains(label) {
            return None;
        }
        let value: f64 = value.split_whitespace().next()?.parse().ok()?;
        value.is_finite().then_some(value)
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_summed_over_its_series() {
        let page = "# HELP a_total x\na_total{n=\"1\"} 2\na_total{n=\"{2}\"} 3 1700000000\na_total_more 9\nb 1e1\nc NaN\n";
        assert_eq!(sum(page, "a_total", ""), Some(5.0));
        assert_eq!(sum(page, "a_total", "n=\"1\""), Some(2.0));
        assert_eq!(sum(page, "b", ""), Some(10.0));
        assert_eq!(sum(page, "c", ""), None);
        assert_eq!(sum(page, "d", ""), None);
    }

    #[test]
    fn braces_in_a_label_are_no_end() {
        let page = "# HELP a x\na{r=\"stop\"} 2.0\na{r=\"len}gth\"} 3\na_more 7\nb 4\n";
        assert_eq!(sum(page, "a", ""), Some(5.0));
        assert_eq!(sum(page, "a", "r=\"stop\""), Some(2.0));
        assert_eq!(sum(page, "b", ""), Some(4.0));
        assert_eq!(sum(page, "c", ""), None);
    }
}
