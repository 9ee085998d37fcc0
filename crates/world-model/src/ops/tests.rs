//! The fused forms against the plain ones: values and gradients, of odd sizes too.

use candle_core::{Device, Result, Tensor, Var};

use super::{Attention, Ops};

fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let mixed = |i: usize| ((i + 1) * (seed + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let values: Vec<f32> = (0..n).map(|i| (mixed(i) % 2003) as f32 / 1001.5 - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Holds values and the gradients of all arguments of the fused form against the plain one's.
fn same(what: &str, shapes: &[&[usize]], operation: impl Fn(Ops, &[Tensor]) -> Result<Tensor>) {
    let vars: Vec<Var> =
        shapes.iter().enumerate().map(|(i, shape)| Var::from_tensor(&numbers(shape, i + 1)).unwrap()).collect();
    let arguments: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let found = |ops: Ops| -> Vec<Vec<f32>> {
        let y = operation(ops, &arguments).unwrap();
        let weights = numbers(y.dims(), 99);
        let gradients = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let of = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        std::iter::once(of(&y)).chain(vars.iter().map(|var| of(gradients.get(var).unwrap()))).collect()
    };
    for (i, (a, b)) in found(Ops::Fused).iter().zip(found(Ops::Plain)).enumerate() {
        assert_eq!(a.len(), b.len());
        let size = b.iter().map(|v| v.abs()).fold(1e-3, f32::max);
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-5 * size, "{what} of {shapes:?}, result {i}: off by {worst} of {size}");
    }
}

#[test]
fn normalising_is_the_same() {
    for shape in [[1, 5], [5, 8], [70, 33], [130, 96]] {
        same("normalise", &[&shape], |ops, a| ops.normalise(&a[0]));
    }
}

#[test]
fn gelu_is_the_same() {
    for shape in [[1, 1], [7, 5], [100, 96]] {
        same("gelu", &[&shape], |ops, a| ops.gelu(&(&a[0] * 6.0)?));
    }
}

#[test]
fn a_linear_layer_is_the_same() {
    // Rows, inputs, outputs, and rows of the bias.
    for (rows, inputs, outputs, biases) in [
        (1, 1, 1, 1),
        (1, 40, 33, 1),
        (3, 7, 5, 3),
        (4, 96, 100, 2),
        (13, 17, 31, 1),
        (100, 96, 288, 1),
        (500, 33, 20, 100),
        (1000, 13, 65, 8),
    ] {
        let shapes: [&[usize]; 3] = [&[rows, inputs], &[inputs, outputs], &[biases, outputs]];
        same("linear", &shapes[..2], |ops, a| ops.linear(&a[0], &a[1], None, false));
        same("linear with bias", &shapes, |ops, a| ops.linear(&a[0], &a[1], Some(&a[2]), false));
        // A row of one value is always 0 when it is normalised, give or take the rounding.
        if inputs > 1 {
            same("linear, normalised", &shapes, |ops, a| ops.linear(&a[0], &a[1], Some(&a[2]), true));
        }
    }
}

#[test]
fn attention_is_the_same() {
    for (sequences, length, heads, dim) in [(1, 1, 1, 1), (2, 6, 2, 4), (3, 64, 4, 24), (2, 48, 2, 8), (1, 75, 1, 40)] {
        for band in [None, Some(3), Some(16)] {
            let shape: &[usize] = &[sequences, length, 3 * heads * dim];
            same("attention", &[shape], |ops, a| ops.attention(&a[0], Attention { heads, band }));
        }
    }
}

#[test]
fn the_halves_of_a_layer_are_the_same() {
    for (sequences, length, heads, dim, hidden) in
        [(1, 1, 1, 2, 3), (2, 6, 2, 4, 16), (9, 64, 4, 24, 192), (2, 33, 1, 40, 50), (30, 20, 2, 8, 32)]
    {
        let width = heads * dim;
        let x: &[usize] = &[sequences, length, width];
        same("attention block", &[x, &[width, 3 * width], &[width, width]], |ops, a| {
            ops.attention_block(&a[0], &a[1], &a[2], heads)
        });
        same("feed-forward", &[x, &[width, hidden], &[hidden, width]], |ops, a| ops.feed_forward(&a[0], &a[1], &a[2]));
    }
}

#[test]
fn reading_under_masks_is_the_same() {
    for (ticks, tokens, heads, dim, queries, masks) in
        [(1, 1, 1, 2, 1, 1), (3, 7, 2, 4, 2, 3), (14, 78, 4, 24, 8, 3), (2, 40, 1, 40, 9, 5)]
    {
        let width = heads * dim;
        let masks: Vec<Vec<f32>> = (0..masks)
            .map(|m| {
                let hidden = |i: usize| i % tokens + 1 < tokens && (i * 31 + m * 17) % 5 < 2;
                (0..ticks * tokens).map(|i| if hidden(i) { -1e9 } else { 0.0 }).collect()
            })
            .collect();
        same("reading", &[&[ticks, tokens, 2 * width], &[1, queries, width]], |ops, a| {
            ops.read(&a[0], &a[1], masks.clone(), heads)
        });
    }
}

#[test]
fn the_smooth_distance_is_the_same() {
    for shape in [[1, 3], [70, 33], [300, 96]] {
        same("smooth L1", &[&shape, &shape], |ops, a| ops.smooth_l1(&(&a[0] * 2.0)?, &a[1]));
    }
}

#[test]
fn what_comes_from_outside_gets_no_gradient() {
    let x = numbers(&[20, 7], 1);
    let weight = Var::from_tensor(&numbers(&[7, 5], 2)).unwrap();
    let y = Ops::Fused.linear(&x, &weight, None, false).unwrap();
    let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    assert!(gradients.get(&x).is_none() && gradients.get(&weight).is_some());
}

/// The same to the bit, with one thread and with several.
#[test]
fn gradients_do_not_depend_on_the_number_of_threads() {
    let of = |threads: usize| -> Vec<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let shapes: [&[usize]; 7] =
                [&[40, 64, 16], &[16, 48], &[16, 16], &[16, 32], &[32, 16], &[16, 32], &[1, 8, 16]];
            let vars: Vec<Var> =
                shapes.iter().enumerate().map(|(i, shape)| Var::from_tensor(&numbers(shape, i + 1)).unwrap()).collect();
            let x = Ops::Fused.attention_block(&vars[0], &vars[1], &vars[2], 2).unwrap();
            let x = Ops::Fused.feed_forward(&x, &vars[3], &vars[4]).unwrap();
            let kv = Ops::Fused.linear(&x, &vars[5], None, true).unwrap();
            let read = Ops::Fused.read(&kv, &vars[6], vec![vec![0.0; 40 * 64]; 2], 2).unwrap();
            let gradients = read.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            let of = |var: &Var| gradients.get(var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            vars.iter().map(of).collect()
        })
    };
    let one = of(1);
    assert!(one.iter().flatten().all(|v| v.is_finite()));
    assert_eq!(one, of(2));
    assert_eq!(one, of(7));
}

/// The analytic gradient of `f` at `x` against central differences, in a weighted sum of its outputs.
fn gradient_error(shape: &[usize], f: impl Fn(&Tensor) -> Result<Tensor>) -> f32 {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 1.3).collect();
    let weigh = |y: Tensor| -> Result<Tensor> {
        let m = y.elem_count();
        let w: Vec<f32> = (0..m).map(|i| ((i * 53 % 97) as f32 / 48.0) - 1.0).collect();
        (y.flatten_all()? * Tensor::from_vec(w, m, &Device::Cpu)?)?.sum_all()
    };
    let x = Var::from_tensor(&Tensor::from_vec(values.clone(), shape, &Device::Cpu).unwrap()).unwrap();
    let grads = weigh(f(&x).unwrap()).unwrap().backward().unwrap();
    let analytic: Vec<f32> = grads.get(&x).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let mut worst = 0f32;
    for i in (0..n).step_by(7) {
        let at = |delta: f32| -> f32 {
            let mut moved = values.clone();
            moved[i] += delta;
            let x = Tensor::from_vec(moved, shape, &Device::Cpu).unwrap();
            weigh(f(&x).unwrap()).unwrap().to_scalar().unwrap()
        };
        let numeric = (at(5e-3) - at(-5e-3)) / 1e-2;
        worst = worst.max((numeric - analytic[i]).abs() / (1.0 + numeric.abs()));
    }
    worst
}

/// A shape, and an operation on it.
type Case = (&'static [usize], fn(Ops, &Tensor) -> Result<Tensor>);

const CASES: &[Case] = &[
    (&[5, 8], |ops, x| ops.normalise(x)),
    (&[5, 8], |ops, x| ops.gelu(x)),
    (&[2, 6, 24], |ops, x| ops.attention(x, Attention { heads: 2, band: None })),
    (&[2, 6, 24], |ops, x| ops.attention(x, Attention { heads: 2, band: Some(3) })),
];

#[test]
fn gradients_agree_with_differences() {
    for (shape, operation) in CASES {
        for ops in [Ops::Fused, Ops::Plain] {
            let error = gradient_error(shape, |x| operation(ops, x));
            assert!(error < 1e-2, "{ops:?} {shape:?}: {error}");
        }
    }
}
