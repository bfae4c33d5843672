use proptest::prelude::*;

use super::driver::multiply_with;
use super::*;
use crate::progress::Progress;

const KINDS: [Kind; 3] = [Kind::F32, Kind::Bf16, Kind::Int8];

pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn matrix(kind: Kind, weights: &[f32], inputs: usize) -> Matrix {
    Matrix::pack(kind, weights.len() / inputs, inputs, |at, row| {
        row.copy_from_slice(&weights[at * inputs..][..inputs])
    })
    .unwrap()
}

fn product(isa: Isa, rows: &Rows, which: std::ops::Range<usize>, matrix: &Matrix) -> Vec<f32> {
    let mut to = vec![f32::NAN; which.len() * matrix.outputs()];
    let mut sink = Store {
        to: &mut to,
        stride: matrix.outputs(),
    };
    multiply_with(isa, rows, which, matrix, 0..matrix.panels(), &mut sink);
    to
}

proptest! {
    #[test]
    fn every_instruction_set_gives_the_product(seed in 1u64..1 << 40, m in 1usize..30, n in 1usize..80, k in 1usize..70) {
        let (a, b) = (numbers(seed, m * k), numbers(seed + 1, n * k));
        for kind in KINDS {
            let (rows, weights) = (Rows::of(Form::whole(kind, k), &a), matrix(kind, &b, k));
            for isa in [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable].into_iter().filter(|isa| isa.runs(kind)) {
                let found = product(isa, &rows, 0..m, &weights);
                for (at, value) in found.iter().enumerate() {
                    let twin = rows.dot(at / n, &weights, at % n);
                    prop_assert!((value - twin).abs() < 1e-5 * (k as f32), "{isa:?} {kind:?} {value} {twin}");
                }
            }
            let exact: f32 = (0..k).map(|at| a[at] * b[at]).sum();
            let room = match kind { Kind::F32 => 1e-6, Kind::Bf16 => 1e-2, Kind::Int8 => 2e-2 } * k as f32;
            prop_assert!((rows.dot(0, &weights, 0) - exact).abs() < room);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours(seed in 1u64..1 << 40, m in 2usize..40, n in 1usize..70, k in 1usize..50) {
        let (a, b) = (numbers(seed, m * k), numbers(seed + 1, n * k));
        for kind in KINDS {
            let (rows, weights) = (Rows::of(Form::whole(kind, k), &a), matrix(kind, &b, k));
            let whole = product(isa(kind), &rows, 0..m, &weights);
            let alone = product(isa(kind), &rows, m - 1..m, &weights);
            prop_assert_eq!(&whole[(m - 1) * n..], &alone[..]);
        }
    }

    #[test]
    fn groups_of_int8_have_units_of_their_own(seed in 1u64..1 << 40, m in 1usize..15, n in 1usize..40, words in 1usize..20, group in 1usize..6) {
        let (k, form) = (4 * words, Form { kind: Kind::Int8, inputs: 4 * words, group: 4 * group });
        let (a, b) = (numbers(seed, m * k), numbers(seed + 1, n * k));
        let rows = Rows::of(form, &a);
        let weights = Matrix::pack_as(form, n, None, |at, row| row.copy_from_slice(&b[at * k..][..k])).unwrap();
        for isa in [Isa::Avx512, Isa::Avx2, Isa::Neon, Isa::Portable].into_iter().filter(|isa| isa.runs(Kind::Int8)) {
            for (at, value) in product(isa, &rows, 0..m, &weights).iter().enumerate() {
                let twin = rows.dot(at / n, &weights, at % n);
                prop_assert!((value - twin).abs() < 1e-5 * (k as f32), "{isa:?} {value} {twin}");
            }
        }
        let exact: f32 = (0..k).map(|at| a[at] * b[at]).sum();
        prop_assert!((rows.dot(0, &weights, 0) - exact).abs() < 2e-2 * k as f32);
    }

    #[test]
    fn units_that_are_given_are_kept(seed in 1u64..1 << 40, n in 1usize..40, words in 1usize..9) {
        let (k, form) = (8 * words, Form { kind: Kind::Int8, inputs: 8 * words, group: 8 });
        let units: Vec<f32> = numbers(seed, n * words).iter().map(|unit| unit.abs() + 0.01).collect();
        let code = |output: usize, input: usize| ((output * 31 + input * 17 + seed as usize) % 201) as f32 - 100.0;
        let row = |output: usize, to: &mut [f32]| {
            to.iter_mut().enumerate().for_each(|(input, value)| *value = code(output, input) * units[output * words + input / 8]);
        };
        let weights = Matrix::pack_as(form, n, Some(&units), row).unwrap();
        for output in 0..n {
            for input in 0..k {
                prop_assert_eq!(weights.weight(output, input), code(output, input) * units[output * words + input / 8]);
            }
        }
    }

    #[test]
    fn log_sum_exp_is_that_of_the_product(seed in 1u64..1 << 40, m in 1usize..20, n in 1usize..200, scale in 0.1f32..60.0) {
        let k = 33;
        let a: Vec<f32> = numbers(seed, m * k).iter().map(|x| x * scale).collect();
        let b = numbers(seed + 1, n * k);
        for (kind, cap) in KINDS.into_iter().flat_map(|kind| [(kind, None), (kind, Some(5.0f32))]) {
            let (rows, weights) = (Rows::of(Form::whole(kind, k), &a), matrix(kind, &b, k));
            let found = log_sum_exp(&rows, &weights, cap, &Progress::default()).unwrap();
            for (at, logits) in product(isa(kind), &rows, 0..m, &weights).chunks(n).enumerate() {
                let capped = logits.iter().map(|x| cap.map_or(f64::from(*x), |c| f64::from(c) * f64::from(x / c).tanh()));
                let top = capped.clone().fold(f64::MIN, f64::max);
                let twin = top + capped.map(|x| (x - top).exp()).sum::<f64>().ln();
                prop_assert!((f64::from(found[at]) - twin).abs() < 1e-5 * twin.abs().max(1.0), "{} {}", found[at], twin);
            }
        }
    }
}

#[test]
fn log_sum_exp_has_the_same_bits_at_any_thread_count() {
    let (a, b) = (numbers(3, 37 * 64), numbers(4, 9_000 * 64));
    let (rows, weights) = (
        Rows::of(Form::whole(Kind::F32, 64), &a),
        matrix(Kind::F32, &b, 64),
    );
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| log_sum_exp(&rows, &weights, None, &Progress::default()).unwrap())
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn values_that_are_not_finite() {
    assert!(Matrix::pack(Kind::Int8, 2, 3, |_, row| row.fill(f32::NAN)).is_err());
    assert!(Matrix::pack(Kind::F32, 0, 3, |_, _| ()).is_err());
    for kind in KINDS {
        let weights = matrix(kind, &numbers(1, 70 * 5), 5);
        let mut a = numbers(2, 3 * 5);
        a[6] = f32::NAN;
        let found = log_sum_exp(
            &Rows::of(Form::whole(kind, 5), &a),
            &weights,
            None,
            &Progress::default(),
        )
        .unwrap();
        assert_eq!(
            found.iter().map(|x| x.is_nan()).collect::<Vec<_>>(),
            [false, true, false]
        );
    }
}

#[test]
fn a_stopped_reduction_ends() {
    let progress = Progress::default();
    progress.stop();
    let weights = matrix(Kind::F32, &numbers(1, 64), 2);
    assert!(
        log_sum_exp(
            &Rows::of(Form::whole(Kind::F32, 2), &[1.0, 2.0]),
            &weights,
            None,
            &progress
        )
        .is_err()
    );
}
