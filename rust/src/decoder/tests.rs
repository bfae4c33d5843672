use std::sync::Arc;

use proptest::prelude::*;

use super::math::{gelu_of, rms, softmax, turn};
use super::turn::turn as turn_blocks;
use super::*;
use crate::gemm::tests::numbers;
use crate::gemm::{Form, Kind, Matrix};
use crate::progress::Progress;

fn linear(seed: u64, outputs: usize, inputs: usize, paired: bool) -> Arc<Linear> {
    let values = numbers(seed, outputs * inputs);
    let form = Form::whole(Kind::F32, inputs);
    let half = if paired {
        values.len() / 2
    } else {
        values.len()
    };
    let sources: Vec<_> = values.chunks(half).map(Source::F32).collect();
    Arc::new(
        Linear::new(
            stack(form, &sources, None, paired).unwrap(),
            None,
            None,
            false,
        )
        .unwrap(),
    )
}

const WIDTH: usize = 8;

fn model(layers: usize, window: Option<usize>) -> Decoder {
    let layer = |at: u64| Layer {
        before_attention: vec![1.0; WIDTH],
        qkv: linear(10 * at + 1, 32, WIDTH, false),
        query_norm: None,
        key_norm: Some(vec![1.0; 4]),
        rope: 0,
        window,
        out: linear(10 * at + 2, WIDTH, 16, false),
        after_attention: None,
        before_mlp: vec![1.0; WIDTH],
        gate_up: linear(10 * at + 3, 2 * 9, WIDTH, true),
        down: linear(10 * at + 4, WIDTH, 9, false),
        after_mlp: Some(vec![0.5; WIDTH]),
        prefix: None,
    };
    let shape = Shape {
        width: WIDTH,
        heads: 4,
        shared: 2,
        size: 4,
        eps: 1e-6,
        scale: 0.5,
        activation: Activation::GeluTanh,
        cap: Some(4.0),
        kind: Kind::F32,
        ropes: vec![Rope::new(vec![1.0, 0.1], 1.0)],
        norm: vec![1.0; WIDTH],
    };
    Decoder::new(
        shape,
        (0..layers as u64).map(layer).collect(),
        linear(7, 50, WIDTH, false),
    )
    .unwrap()
}

/// Log-probability of token 3 behind each place that is asked for.
fn logp(
    model: &Decoder,
    parent: &[i64],
    trees: &[[i64; 3]],
    states: &[f32],
    predict: &[i64],
) -> Vec<f32> {
    let forest = Forest::new(parent, trees).unwrap();
    let rows: Vec<i64> = (0..predict.len() as i64).collect();
    let wanted = Wanted {
        predict,
        rows: &rows,
        targets: &vec![3; predict.len()],
    };
    model
        .logp(
            &forest,
            states.to_vec(),
            &vec![-1; parent.len()],
            &wanted,
            &Progress::default(),
        )
        .unwrap()
}

/// A tree of a trunk and branches that may share beginnings, with each place's path from the root.
fn grown(seed: u64, trunk: usize, rest: usize) -> (Vec<i64>, Vec<Vec<usize>>) {
    let (mut parent, mut paths) = (Vec::new(), Vec::<Vec<usize>>::new());
    for place in 0..trunk + rest {
        let choices = place.saturating_sub(trunk) + 1;
        let pick = (seed as usize).wrapping_mul(31).wrapping_add(place * 17) % choices;
        let from = if place < trunk || pick == 0 {
            place.min(trunk)
        } else {
            trunk + pick
        };
        parent.push(from as i64 - 1);
        let mut path = if from == 0 {
            Vec::new()
        } else {
            paths[from - 1].clone()
        };
        path.push(place);
        paths.push(path);
    }
    (parent, paths)
}

proptest! {
    #[test]
    fn a_token_gets_what_it_gets_alone(seed in 1u64..1 << 30, trunk in 0usize..40, rest in 1usize..40, window in 0usize..12) {
        let model = model(2, (window > 0).then_some(window));
        let (parent, paths) = grown(seed, trunk, rest);
        let count = parent.len();
        let states = numbers(seed, 2 * count * WIDTH);
        let twice: Vec<i64> = parent.iter().copied().chain(parent.iter().map(|p| if *p < 0 { -1 } else { p + count as i64 })).collect();
        let (t, n) = (trunk as i64, count as i64);
        let asked: Vec<i64> = (0..2 * n).filter(|place| place % 3 != 1).collect();
        let found = logp(&model, &twice, &[[0, t, n], [n, n + t, 2 * n]], &states, &asked);
        for (place, value) in asked.iter().zip(found) {
            let path = &paths[*place as usize % count];
            let from = *place as usize / count * count;
            let own: Vec<f32> = path.iter().flat_map(|at| states[(from + at) * WIDTH..][..WIDTH].to_vec()).collect();
            let chain: Vec<i64> = (-1..path.len() as i64 - 1).collect();
            let length = path.len() as i64;
            let alone = logp(&model, &chain, &[[0, length, length]], &own, &[length - 1]);
            prop_assert!((alone[0] - value).abs() < 1e-4, "{} {}", alone[0], value);
        }
    }

    #[test]
    fn turning_twice_gives_what_was(seed in 1u64..1 << 30, blocks in 1usize..4) {
        let values = numbers(seed, 128 * blocks);
        let mut turned = values.clone();
        let factors = vec![128f32.sqrt().recip(); values.len()];
        turn_blocks(&mut turned, &factors);
        for (at, value) in turned.iter().enumerate() {
            let block = &values[at / 128 * 128..][..128];
            let sign = |other: usize| if (other & (at % 128)).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
            let twin: f64 = block.iter().enumerate().map(|(other, v)| f64::from(*v) * sign(other)).sum::<f64>() / 128f64.sqrt();
            prop_assert!((f64::from(*value) - twin).abs() < 1e-5);
        }
        turn_blocks(&mut turned, &factors);
        prop_assert!(turned.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn softmax_weighs_what_is_seen(seed in 1u64..1 << 30, near in 0usize..50, far in 0usize..50, from in 0usize..50, to in 0usize..50) {
        let (to, from) = (to.min(near), from.min(to).min(near));
        let (mut a, mut b) = (numbers(seed, near), numbers(seed + 1, far));
        let sees: Vec<bool> = (0..far).map(|at| at % 3 != 0).collect();
        let seen = |at: usize, value: f32| ((from..to).contains(&at)).then_some(value);
        let near_values: Vec<_> = a.iter().enumerate().map(|(at, v)| seen(at, *v)).collect();
        let far_values: Vec<_> = b.iter().zip(&sees).map(|(v, sees)| sees.then_some(*v)).collect();
        let all: Vec<f32> = near_values.iter().chain(&far_values).filter_map(|v| *v).collect();
        prop_assume!(!all.is_empty());
        let top = all.iter().copied().fold(f32::MIN, f32::max);
        let twin = |value: &Option<f32>| value.map_or(0.0, |value| f64::from(value - top).exp());
        let sum = softmax(&mut a, from, to, &mut b, &sees);
        for (found, value) in a.iter().chain(&b).zip(near_values.iter().chain(&far_values)) {
            prop_assert!((f64::from(*found) - twin(value)).abs() < 1e-6);
        }
        let exact: f64 = near_values.iter().chain(&far_values).map(twin).sum();
        prop_assert!((f64::from(sum) - exact).abs() < 1e-5 * exact);
    }
}

#[test]
fn the_same_bits_at_any_thread_count() {
    let model = model(3, None);
    let (parent, _) = grown(5, 150, 120);
    let states = numbers(9, parent.len() * WIDTH);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            logp(
                &model,
                &parent,
                &[[0, 150, 270]],
                &states,
                &[10, 150, 200, 269],
            )
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn a_known_prefix_stands_in_for_the_first_tokens() {
    let (parent, _) = grown(5, 9, 6);
    let states = numbers(3, parent.len() * WIDTH);
    let plain = logp(&model(1, None), &parent, &[[0, 9, 15]], &states, &[14]);
    let mut changed = model(1, None);
    changed.set_prefix(
        0,
        Prefix {
            keys: vec![0.3; 16],
            values: vec![-0.2; 16],
        },
    );
    let forest = Forest::new(&parent, &[[0, 9, 15]]).unwrap();
    let wanted = Wanted {
        predict: &[14],
        rows: &[0],
        targets: &[3],
    };
    let mut known = vec![-1; parent.len()];
    let same = changed
        .logp(
            &forest,
            states.clone(),
            &known,
            &wanted,
            &Progress::default(),
        )
        .unwrap();
    assert_eq!(same, plain);
    known[..2].copy_from_slice(&[0, 1]);
    let other = changed
        .logp(
            &forest,
            states.clone(),
            &known,
            &wanted,
            &Progress::default(),
        )
        .unwrap();
    assert_ne!(other, plain);
    known[2] = 2;
    assert!(
        changed
            .logp(&forest, states, &known, &wanted, &Progress::default())
            .is_err()
    );
}

#[test]
fn forests_that_are_none() {
    for (parent, trees) in [
        (vec![-1, 0, 1], vec![[0, 2, 2]]),
        (vec![-1, 0, 1], vec![[1, 2, 3]]),
        (vec![-1, -1, 1], vec![[0, 3, 3]]),
        (vec![-1, 0, 0], vec![[0, 2, 3]]),
        (vec![-1, 0, 2], vec![[0, 1, 3]]),
        (vec![-1, 5, 1], vec![[0, 1, 3]]),
        (vec![-1, 0, 0], vec![[0, 1, 2], [2, 2, 3]]),
    ] {
        assert!(
            Forest::new(&parent, &trees).is_err(),
            "{parent:?} {trees:?}"
        );
    }
    assert!(Forest::new(&[-1, -1, 1], &[[0, 0, 3]]).is_ok());
    assert!(Forest::new(&[], &[]).unwrap().is_empty());
}

#[test]
fn calls_that_do_not_fit() {
    let model = model(1, None);
    let forest = Forest::new(&[-1, 0], &[[0, 2, 2]]).unwrap();
    let states = vec![0.5; 2 * WIDTH];
    let call = |states: &[f32], known: &[i32], predict: &[i64], rows: &[i64], targets: &[i64]| {
        let wanted = Wanted {
            predict,
            rows,
            targets,
        };
        model
            .logp(
                &forest,
                states.to_vec(),
                known,
                &wanted,
                &Progress::default(),
            )
            .is_err()
    };
    assert!(!call(&states, &[-1, -1], &[0, 1], &[0, 1], &[4, 4]));
    assert!(call(&states[1..], &[-1, -1], &[0, 1], &[0, 1], &[4, 4]));
    assert!(call(&states, &[-1], &[0, 1], &[0, 1], &[4, 4]));
    assert!(call(&states, &[-1, 0], &[0, 1], &[0, 1], &[4, 4]));
    assert!(call(&states, &[-1, -1], &[1, 0], &[0, 1], &[4, 4]));
    assert!(call(&states, &[-1, -1], &[0, 2], &[0, 1], &[4, 4]));
    assert!(call(&states, &[-1, -1], &[0, 1], &[0, 2], &[4, 4]));
    assert!(call(&states, &[-1, -1], &[0, 1], &[0, 1], &[4, 50]));
    assert!(call(&states, &[-1, -1], &[0, 1], &[0], &[4, 4]));
}

#[test]
fn int8_with_factors_and_turns_is_near_the_product() {
    let (n, k) = (40, 256);
    let (weights, inputs) = (numbers(1, n * k), numbers(2, k));
    let factors: Vec<f32> = (0..k).map(|at| 0.5 + (at % 5) as f32 / 4.0).collect();
    let form = Form {
        kind: Kind::Int8,
        inputs: k,
        group: 128,
    };
    let matrix = Matrix::pack_as(form, n, None, |at, to| {
        to.iter_mut()
            .enumerate()
            .for_each(|(input, to)| *to = weights[at * k + input] / factors[input]);
        turn_blocks(to, &vec![128f32.sqrt().recip(); k]);
    });
    let made = Linear::new(matrix.unwrap(), None, Some(factors), true).unwrap();
    let mut rows = made.rows(1);
    made.set(&mut rows, 0, &mut inputs.clone());
    for output in 0..n {
        let exact: f32 = inputs
            .iter()
            .zip(&weights[output * k..])
            .map(|(a, b)| a * b)
            .sum();
        assert!(
            (rows.dot(0, made.matrix(), output) - exact).abs() < 0.15,
            "{output}"
        );
    }
    assert!(
        Linear::new(
            Matrix::pack(Kind::F32, 1, 5, |_, to| to.fill(1.0)).unwrap(),
            None,
            None,
            true
        )
        .is_err()
    );
}

#[test]
fn elementary_functions() {
    for step in -80..80 {
        let x = step as f32 / 8.0;
        let exact = 0.5
            * f64::from(x)
            * (1.0 + (0.797_884_560_8 * (f64::from(x) + 0.044_715 * f64::from(x).powi(3))).tanh());
        assert!((f64::from(gelu_of::<true>(x)) - exact).abs() < 2e-6);
    }
    let mut out = [0.0; 3];
    rms(&[3.0, 4.0, 0.0], &[1.0, 2.0, 1.0], 0.0, &mut out);
    let root = (25.0f32 / 3.0).sqrt();
    assert!((out[0] - 3.0 / root).abs() < 1e-6 && (out[1] - 8.0 / root).abs() < 1e-6);
    let mut head = [1.0, 0.0, 0.0, 2.0];
    turn(&mut head, &[0.0, 1.0], &[1.0, 0.0], 3.0);
    assert_eq!(head, [0.0, 0.0, 3.0, 6.0]);
}
