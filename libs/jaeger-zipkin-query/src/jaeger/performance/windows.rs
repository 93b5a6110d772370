//! Sums over windows of steps.

/// For each step the sum of the last `length` steps, itself included; fewer at the start.
pub(super) fn sums(values: &[f64], length: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let mut sums = Vec::with_capacity(values.len());
    for (step, value) in values.iter().enumerate() {
        sum += value;
        let leaving = step.checked_sub(length).and_then(|step| values.get(step));
        sum -= leaving.copied().unwrap_or_default();
        sums.push(sum);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_slides_over_the_steps() {
        assert_eq!(sums(&[1.0, 2.0, 3.0, 4.0], 2), [1.0, 3.0, 5.0, 7.0]);
        assert_eq!(sums(&[1.0, 2.0], 1), [1.0, 2.0]);
        assert_eq!(sums(&[1.0, 2.0], 9), [1.0, 3.0]);
        assert!(sums(&[], 3).is_empty());
    }
}
