//! The whole model over a forest.

use rayon::prelude::*;

use super::attention::{Job, kind_for};
use super::forest::{Chunk, Forest};
use super::head::target_logp;
use super::layer::{Layer, Places, Scratch};
use super::math::rms_inplace;
use super::model::Decoder;
use super::rope::Angles;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Rows that go through the products of a layer together: their inputs stay in the cache.
const PIECE: usize = 96;

/// Which places predict which targets.
pub struct Wanted<'a> {
    /// [m] places, ascending.
    pub predict: &'a [i64],
    /// [t] index into `predict`.
    pub rows: &'a [i64],
    /// [t] token ids.
    pub targets: &'a [i64],
}

impl Decoder {
    /// Log-probabilities of target tokens.
    ///
    /// # Arguments
    /// * `forest`: T tokens.
    /// * `states`: [T, H] their embeddings.
    /// * `known`: [T] which token of the prefix a token is, or -1.
    /// * `wanted`: what to predict.
    ///
    /// # Returns
    /// [t] f32 nats, the same bits at any number of threads and in any company.
    pub fn logp(
        &self,
        forest: &Forest,
        states: Vec<f32>,
        known: &[i32],
        wanted: &Wanted<'_>,
        progress: &Progress,
    ) -> Result<Vec<f32>> {
        self.check_call(forest, &states, known, wanted)?;
        let mut last = self.run(forest, states, known, wanted.predict, progress)?;
        last.par_chunks_exact_mut(self.shape.width)
            .for_each(|row| rms_inplace(row, &self.shape.norm, self.shape.eps));
        target_logp(
            &self.head,
            &mut last,
            self.shape.cap,
            wanted.rows,
            wanted.targets,
            progress,
        )
    }

    fn check_call(
        &self,
        forest: &Forest,
        states: &[f32],
        known: &[i32],
        wanted: &Wanted<'_>,
    ) -> Result<()> {
        let (tokens, width) = (forest.len(), self.shape.width);
        if states.len() != tokens * width || known.len() != tokens {
            return Err(Error::shape(format!(
                "{} values and {} marks for {tokens} tokens of {width}",
                states.len(),
                known.len()
            )));
        }
        let rising = wanted.predict.is_sorted_by(|a, b| a < b);
        if !rising
            || wanted
                .predict
                .iter()
                .any(|place| !(0..tokens as i64).contains(place))
        {
            return Err(Error::shape(format!(
                "places that predict must ascend and lie among {tokens} tokens"
            )));
        }
        let most = self
            .layers
            .iter()
            .filter_map(|layer| layer.prefix.as_ref())
            .map(|prefix| prefix.keys.len())
            .min();
        let size = self.common.heads.shared * self.common.heads.size;
        if known.iter().any(|known| {
            usize::try_from(*known)
                .is_ok_and(|known| most.is_none_or(|most| (known + 1) * size > most))
        }) {
            return Err(Error::shape(
                "a token is said to be in a prefix that is shorter or absent".to_owned(),
            ));
        }
        Ok(())
    }

    /// [m, H] states of the places that predict, behind the last layer.
    fn run(
        &self,
        forest: &Forest,
        mut states: Vec<f32>,
        known: &[i32],
        predict: &[i64],
        progress: &Progress,
    ) -> Result<Vec<f32>> {
        let everyone: Vec<u32> = (0..forest.len() as u32).collect();
        let few: Vec<u32> = predict.iter().map(|place| *place as u32).collect();
        let size = self.common.heads.tokens();
        let (all_chunks, few_chunks) = (forest.chunks(&everyone, size), forest.chunks(&few, size));
        let positions: Vec<u32> = (0..forest.len())
            .map(|place| forest.depth(place) as u32)
            .collect();
        let angles: Vec<_> = self
            .shape
            .ropes
            .iter()
            .map(|rope| rope.angles(forest.positions()))
            .collect();
        let pass = Pass {
            model: self,
            forest,
            positions: &positions,
            known,
            angles: &angles,
            progress,
        };
        let heads = self.common.heads;
        let mut projected = vec![0.0f32; forest.len() * heads.width()];
        let mut attended = vec![0.0f32; forest.len() * heads.queries * heads.size];
        pass.step(
            None,
            Some(&self.layers[0]),
            &mut [],
            &mut states,
            &mut projected,
        )?;
        for (number, layer) in self.layers.iter().enumerate() {
            let next = self.layers.get(number + 1);
            let (asked, chunks): (&[u32], &[Chunk]) = if next.is_some() {
                (&everyone, &all_chunks)
            } else {
                (&few, &few_chunks)
            };
            let attended = &mut attended[..asked.len() * heads.queries * heads.size];
            pass.attend(layer, asked, chunks, &projected, attended)?;
            if next.is_none() {
                states = self.gather(&states, &few);
            }
            pass.step(Some(layer), next, attended, &mut states, &mut projected)?;
        }
        Ok(states)
    }

    fn gather(&self, states: &[f32], places: &[u32]) -> Vec<f32> {
        let width = self.shape.width;
        places
            .iter()
            .flat_map(|place| &states[*place as usize * width..][..width])
            .copied()
            .collect()
    }
}

/// One call's view of the model.
struct Pass<'a> {
    model: &'a Decoder,
    forest: &'a Forest,
    positions: &'a [u32],
    known: &'a [i32],
    angles: &'a [Angles],
    progress: &'a Progress,
}

impl Pass<'_> {
    fn attend(
        &self,
        layer: &Layer,
        asked: &[u32],
        chunks: &[Chunk],
        states: &[f32],
        to: &mut [f32],
    ) -> Result<()> {
        let kind = kind_for(self.model.shape.kind);
        let job = Job {
            forest: self.forest,
            heads: self.model.common.heads,
            window: layer.window,
            states,
            kind,
        };
        job.run(asked, chunks, to, self.progress)
    }

    /// The end of one layer and the beginning of the next, piece by piece.
    fn step(
        &self,
        ended: Option<&Layer>,
        begun: Option<&Layer>,
        attended: &mut [f32],
        states: &mut [f32],
        projected: &mut [f32],
    ) -> Result<()> {
        let common = self.model.common;
        let (wide, inner) = (
            common.heads.width(),
            common.heads.queries * common.heads.size,
        );
        let mut attended = attended.chunks_mut(PIECE * inner);
        let mut projected = projected.chunks_mut(PIECE * wide);
        let mut pieces = Vec::new();
        for (number, piece) in states.chunks_mut(PIECE * common.width).enumerate() {
            let to = if begun.is_some() {
                projected.next()
            } else {
                None
            };
            pieces.push((
                number * PIECE,
                piece,
                attended.next().unwrap_or_default(),
                to.unwrap_or_default(),
            ));
        }
        pieces.into_par_iter().try_for_each_init(
            Scratch::new,
            |scratch, (start, states, attended, projected)| {
                self.progress.poll()?;
                if let Some(layer) = ended {
                    layer.finish(common, attended, scratch, states);
                }
                if let Some(layer) = begun {
                    let range = start..start + states.len() / common.width;
                    let (positions, known) = (&self.positions[range.clone()], &self.known[range]);
                    let angles = &self.angles[layer.rope];
                    let places = Places {
                        positions,
                        known,
                        angles,
                    };
                    layer.project(common, states, places, scratch, projected);
                }
                Ok(())
            },
        )
    }
}
