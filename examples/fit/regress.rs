//! Logistic regression.

/// One row: values, weight, target.
pub(crate) type Dense<const N: usize> = ([f32; N], f64, f64);

/// Newton's method with a ridge on all but the bias. Returns the bias and the weights.
pub(crate) fn ridge<const N: usize>(
    examples: &[Dense<N>],
    strength: f64,
    counts: &dyn Fn(usize) -> bool,
) -> (f32, [f32; N]) {
    let size = N + 1;
    let mut beta = vec![0.0f64; size];
    let total: f64 = examples.iter().map(|(_, weight, _)| weight).sum();
    for _ in 0..30 {
        let (mut gradient, mut hessian) = (vec![0.0f64; size], vec![vec![0.0f64; size]; size]);
        for (values, weight, target) in examples {
            let mut x = vec![1.0f64; size];
            for (n, (slot, value)) in x.iter_mut().skip(1).zip(values).enumerate() {
                *slot = if counts(n) { f64::from(*value) } else { 0.0 };
            }
            let sum: f64 = x.iter().zip(&beta).map(|(x, b)| x * b).sum();
            let p = 1.0 / (1.0 + (-sum).exp());
            for i in (0..size).filter(|i| x[*i] != 0.0) {
                gradient[i] += weight * (target - p) * x[i];
                for j in 0..size {
                    hessian[i][j] += weight * p * (1.0 - p) * x[i] * x[j];
                }
            }
        }
        for i in 0..size {
            let pull = if i == 0 { 1e-6 } else { strength * total / 10.0 };
            gradient[i] -= pull * beta[i];
            hessian[i][i] += pull;
        }
        for (b, step) in beta.iter_mut().zip(solve(hessian, gradient)) {
            *b += step.clamp(-2.0, 2.0);
        }
    }
    (beta[0] as f32, std::array::from_fn(|n| beta[n + 1] as f32))
}

/// Gauss with pivots.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let size = b.len();
    for i in 0..size {
        let pivot = (i..size).max_by(|x, y| a[*x][i].abs().total_cmp(&a[*y][i].abs())).unwrap();
        a.swap(i, pivot);
        b.swap(i, pivot);
        for j in i + 1..size {
            let factor = a[j][i] / a[i][i];
            for k in i..size {
                a[j][k] -= factor * a[i][k];
            }
            b[j] -= factor * b[i];
        }
    }
    let mut x = vec![0.0; size];
    for i in (0..size).rev() {
        let known: f64 = (i + 1..size).map(|k| a[i][k] * x[k]).sum();
        x[i] = (b[i] - known) / a[i][i];
    }
    x
}
