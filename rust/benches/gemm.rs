//! Speed of the packed products: GFLOP/s of the bare product and of the log-sum-exp, in each kind. `cargo bench --bench gemm`.

use std::time::Instant;

use rayon::prelude::*;
use umr_core::Progress;
use umr_core::gemm::{Form, Kind, Matrix, Rows, Sink, log_sum_exp, multiply};

struct Last(f32);

impl Sink for Last {
    #[inline(always)]
    fn take<const FMA: bool>(
        &mut self,
        _row: usize,
        _column: usize,
        _width: usize,
        values: &[f32; 32],
    ) {
        self.0 = values[0];
    }
}

fn main() -> umr_core::Result<()> {
    for (m, n, k) in [(1536, 4096, 640), (1536, 640, 2048), (600, 262_144, 640)] {
        for kind in [Kind::F32, Kind::Bf16, Kind::Int8] {
            let value = |at: usize| ((at * 2_654_435_761) % 1_000) as f32 / 1e3 - 0.5;
            let matrix = Matrix::pack(kind, n, k, |row, to| {
                (0..k).for_each(|at| to[at] = value(row * k + at))
            })?;
            let values: Vec<f32> = (0..m * k).map(value).collect();
            let rows = Rows::of(Form::whole(kind, k), &values);
            let bare = best(|| {
                (0..m)
                    .step_by(96)
                    .collect::<Vec<_>>()
                    .into_par_iter()
                    .for_each(|at| {
                        multiply(
                            &rows,
                            at..m.min(at + 96),
                            &matrix,
                            0..matrix.panels(),
                            &mut Last(0.0),
                        );
                    });
            });
            let reduced = best(|| drop(log_sum_exp(&rows, &matrix, None, &Progress::default())));
            let rate = |seconds: f64| 2.0 * (m * n * k) as f64 / seconds / 1e9;
            println!(
                "{m} x {n} x {k} {kind:?}: product {:.0}, log-sum-exp {:.0} GFLOP/s",
                rate(bare),
                rate(reduced)
            );
        }
    }
    Ok(())
}

fn best(mut call: impl FnMut()) -> f64 {
    let mut once = || {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64()
    };
    (0..4).map(|_| once()).fold(f64::INFINITY, f64::min)
}
