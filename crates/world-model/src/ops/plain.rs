//! The same operations from candle's own, which the fused ones are tested against: values and gradients.

use candle_core::{D, Device, Result, Tensor, Var};

use super::Attention;

fn normalise(x: &Tensor) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred.broadcast_div(&(variance + 1e-5)?.sqrt()?)
}

fn gelu(x: &Tensor) -> Result<Tensor> {
    let inner = ((x + (x.powf(3.0)? * 0.044_715)?)? * (2.0 / std::f64::consts::PI).sqrt())?;
    (x * 0.5)? * (inner.tanh()? + 1.0)?
}

fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (inputs, outputs) = weight.dims2()?;
    let y = x.reshape(((), inputs))?.matmul(weight)?;
    let mut shape = x.dims().to_vec();
    *shape.last_mut().unwrap() = outputs;
    let y = match bias {
        Some(bias) => {
            let rows = bias.elem_count() / outputs;
            y.reshape(((), rows, outputs))?.broadcast_add(&bias.reshape((1, rows, outputs))?)?
        }
        None => y,
    };
    y.reshape(shape)
}

fn attention(qkv: &Tensor, how: Attention) -> Result<Tensor> {
    let (sequences, length, width) = (qkv.dim(0)?, qkv.dim(1)?, qkv.dim(2)? / 3);
    let dim = width / how.heads;
    let part = |which: usize| {
        let part = qkv.narrow(2, which * width, width)?.contiguous()?.reshape((sequences, length, how.heads, dim))?;
        part.transpose(1, 2)?.contiguous()
    };
    let scores = (part(0)?.matmul(&part(1)?.t()?.contiguous()?)? * (1.0 / (dim as f64).sqrt()))?;
    let mut costs = Vec::new();
    for head in 0..how.heads {
        for i in 0..length {
            costs.extend((0..length).map(|j| match how.band {
                Some(band) if j > i || i - j >= band => f32::NEG_INFINITY,
                Some(_) => -how.slope(head) * (i - j) as f32,
                None => 0.0,
            }));
        }
    }
    let costs = Tensor::from_vec(costs, (1, how.heads, length, length), &Device::Cpu)?;
    let weights = candle_nn::ops::softmax(&scores.broadcast_add(&costs)?, 3)?;
    weights.matmul(&part(2)?)?.transpose(1, 2)?.contiguous()?.reshape((sequences, length, width))
}

fn attention_block(x: &Tensor, qkv: &Tensor, out: &Tensor, heads: usize) -> Result<Tensor> {
    let seen = attention(&linear(&normalise(x)?, qkv, None)?, Attention { heads, band: None })?;
    x + linear(&seen, out, None)?
}

fn feed_forward(x: &Tensor, up: &Tensor, down: &Tensor) -> Result<Tensor> {
    x + linear(&gelu(&linear(&normalise(x)?, up, None)?)?, down, None)?
}

fn read(keys_values: &Tensor, queries: &Tensor, masks: &[Vec<f32>], heads: usize) -> Result<Tensor> {
    let (ticks, tokens, width2) = keys_values.dims3()?;
    let (width, count) = (width2 / 2, queries.dim(1)?);
    let dim = width / heads;
    let part = |which: usize| {
        let part = keys_values.narrow(2, which * width, width)?.contiguous()?.reshape((ticks, tokens, heads, dim))?;
        part.transpose(1, 2)?.contiguous()
    };
    let asked = queries.reshape((1, count, heads, dim))?.transpose(1, 2)?;
    let asked = asked.broadcast_as((ticks, heads, count, dim))?.contiguous()?;
    let scores = (asked.matmul(&part(0)?.t()?.contiguous()?)? * (1.0 / (dim as f64).sqrt()))?;
    let mut out = Vec::new();
    for mask in masks {
        let mask = Tensor::from_slice(mask, (ticks, 1, 1, tokens), &Device::Cpu)?;
        let weights = candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, 3)?;
        out.push(weights.matmul(&part(1)?)?.transpose(1, 2)?.contiguous()?.reshape((ticks, count * width))?);
    }
    Tensor::cat(&out, 0)
}

fn numbers(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let mixed = |i: usize| ((i + 1) * (seed + 1)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let values: Vec<f32> = (0..n).map(|i| (mixed(i) % 2003) as f32 / 1001.5 - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Holds values and the gradients of all arguments of one form against the other's.
fn same(what: &str, shapes: &[&[usize]], fused: impl Fn(&[Tensor]) -> Tensor, plain: impl Fn(&[Tensor]) -> Tensor) {
    let vars: Vec<Var> =
        shapes.iter().enumerate().map(|(i, shape)| Var::from_tensor(&numbers(shape, i + 1)).unwrap()).collect();
    let arguments: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let found = |f: &dyn Fn(&[Tensor]) -> Tensor| -> Vec<Vec<f32>> {
        let y = f(&arguments);
        let weights = numbers(y.dims(), 99);
        let gradients = (&y * weights).unwrap().sum_all().unwrap().backward().unwrap();
        let of = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
        std::iter::once(of(&y)).chain(vars.iter().map(|var| of(gradients.get(var).unwrap()))).collect()
    };
    for (i, (a, b)) in found(&fused).iter().zip(found(&plain)).enumerate() {
        assert_eq!(a.len(), b.len());
        let size = b.iter().map(|v| v.abs()).fold(1e-3, f32::max);
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-5 * size, "{what} of {shapes:?}, result {i}: off by {worst} of {size}");
    }
}

#[test]
fn normalising_is_what_candle_makes_of_it() {
    for shape in [[1, 5], [5, 8], [70, 33], [130, 96]] {
        same("normalise", &[&shape], |a| super::normalise(&a[0]).unwrap(), |a| normalise(&a[0]).unwrap());
    }
}

#[test]
fn gelu_is_what_candle_makes_of_it() {
    let bent = |a: &[Tensor]| (&a[0] * 6.0).unwrap();
    for shape in [[1, 1], [7, 5], [100, 96]] {
        same("gelu", &[&shape], |a| super::gelu(&bent(a)).unwrap(), |a| gelu(&bent(a)).unwrap());
    }
}

#[test]
fn a_linear_layer_is_what_candle_makes_of_it() {
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
        same(
            "linear",
            &shapes[..2],
            |a| super::linear(&a[0], &a[1], None, false).unwrap(),
            |a| linear(&a[0], &a[1], None).unwrap(),
        );
        same(
            "linear with bias",
            &shapes,
            |a| super::linear(&a[0], &a[1], Some(&a[2]), false).unwrap(),
            |a| linear(&a[0], &a[1], Some(&a[2])).unwrap(),
        );
        // A row of one value is always 0 when it is normalised, give or take the rounding.
        if inputs > 1 {
            same(
                "linear, normalised",
                &shapes[..2],
                |a| super::linear(&a[0], &a[1], None, true).unwrap(),
                |a| linear(&normalise(&a[0]).unwrap(), &a[1], None).unwrap(),
            );
        }
    }
}

#[test]
fn attention_is_what_candle_makes_of_it() {
    for (sequences, length, heads, dim) in [(1, 1, 1, 1), (2, 6, 2, 4), (3, 64, 4, 24), (2, 48, 2, 8), (1, 75, 1, 40)] {
        for band in [None, Some(3), Some(16)] {
            let how = Attention { heads, band };
            let shape: &[usize] = &[sequences, length, 3 * heads * dim];
            same("attention", &[shape], |a| super::attention(&a[0], how).unwrap(), |a| attention(&a[0], how).unwrap());
        }
    }
}

#[test]
fn the_halves_of_a_layer_are_what_candle_makes_of_them() {
    for (sequences, length, heads, dim, hidden) in
        [(1, 1, 1, 2, 3), (2, 6, 2, 4, 16), (9, 64, 4, 24, 192), (2, 33, 1, 40, 50), (30, 20, 2, 8, 32)]
    {
        let width = heads * dim;
        let x: &[usize] = &[sequences, length, width];
        same(
            "attention block",
            &[x, &[width, 3 * width], &[width, width]],
            |a| super::attention_block(&a[0], &a[1], &a[2], heads).unwrap(),
            |a| attention_block(&a[0], &a[1], &a[2], heads).unwrap(),
        );
        same(
            "feed-forward",
            &[x, &[width, hidden], &[hidden, width]],
            |a| super::feed_forward(&a[0], &a[1], &a[2]).unwrap(),
            |a| feed_forward(&a[0], &a[1], &a[2]).unwrap(),
        );
    }
}

#[test]
fn reading_under_masks_is_what_candle_makes_of_it() {
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
        same(
            "reading",
            &[&[ticks, tokens, 2 * width], &[1, queries, width]],
            |a| super::read(&a[0], &a[1], masks.clone(), heads).unwrap(),
            |a| read(&a[0], &a[1], &masks, heads).unwrap(),
        );
    }
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
            let x = super::attention_block(&vars[0], &vars[1], &vars[2], 2).unwrap();
            let x = super::feed_forward(&x, &vars[3], &vars[4]).unwrap();
            let kv = super::linear(&x, &vars[5], None, true).unwrap();
            let read = super::read(&kv, &vars[6], vec![vec![0.0; 40 * 64]; 2], 2).unwrap();
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
