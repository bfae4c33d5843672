//! Where the pieces of a product go.

use super::PANEL;

/// Takes a product row by row, 32 columns at a time.
pub trait Sink {
    /// Takes columns `column..column + width` of a row; further values are those of padding.
    fn take<const FMA: bool>(
        &mut self,
        row: usize,
        column: usize,
        width: usize,
        values: &[f32; PANEL],
    );
}

/// Writes the product into a matrix.
pub struct Store<'a> {
    /// Row 0 of the product goes to its start.
    pub to: &'a mut [f32],
    /// Values between the starts of rows.
    pub stride: usize,
}

impl Sink for Store<'_> {
    #[inline(always)]
    fn take<const FMA: bool>(
        &mut self,
        row: usize,
        column: usize,
        width: usize,
        values: &[f32; PANEL],
    ) {
        let at = row * self.stride + column;
        self.to[at..at + width].copy_from_slice(&values[..width]);
    }
}

/// Adds the product to a matrix.
pub struct Add<'a> {
    /// Row 0 of the product goes to its start.
    pub to: &'a mut [f32],
    /// Values between the starts of rows.
    pub stride: usize,
}

impl Sink for Add<'_> {
    #[inline(always)]
    fn take<const FMA: bool>(
        &mut self,
        row: usize,
        column: usize,
        width: usize,
        values: &[f32; PANEL],
    ) {
        let at = row * self.stride + column;
        for (to, value) in self.to[at..at + width].iter_mut().zip(values) {
            *to += value;
        }
    }
}
