//! A vocabulary as a flat trie over bytes.

/// Stands where no piece ends.
const NONE: u32 = u32::MAX;

/// Nodes breadth first: the children of a node stand side by side, in the order of their labels.
pub struct Trie {
    /// Where the children of each node begin; one more than there are nodes.
    first: Vec<u32>,
    /// The byte that leads to each node.
    label: Vec<u8>,
    /// The piece that ends at each node, or [`NONE`].
    id: Vec<u32>,
}

impl Trie {
    /// `pieces` are (text, id), sorted, all different and none empty.
    pub fn new(pieces: &[(&[u8], u32)]) -> Self {
        let mut trie = Self {
            first: Vec::new(),
            label: vec![0],
            id: vec![NONE],
        };
        let mut level = vec![(0, pieces.len())];
        let mut depth = 0;
        while !level.is_empty() {
            level = trie.grow(pieces, &level, depth);
            depth += 1;
        }
        trie.first.push(trie.label.len() as u32);
        trie
    }

    /// Adds the children of the nodes of a level; each node is the range of pieces that begin alike up to `depth`.
    fn grow(
        &mut self,
        pieces: &[(&[u8], u32)],
        level: &[(usize, usize)],
        depth: usize,
    ) -> Vec<(usize, usize)> {
        let mut next = Vec::new();
        for &(from, to) in level {
            self.first.push(self.label.len() as u32);
            let mut at = from + usize::from(pieces.get(from).is_some_and(|p| p.0.len() == depth));
            while at < to {
                let label = pieces[at].0[depth];
                let end = at + pieces[at..to].partition_point(|piece| piece.0[depth] == label);
                let ends_here = pieces[at].0.len() == depth + 1;
                self.label.push(label);
                self.id.push(if ends_here { pieces[at].1 } else { NONE });
                next.push((at, end));
                at = end;
            }
        }
        next
    }

    /// The pieces that `text` begins with, shortest first: their lengths in bytes and their ids.
    pub fn prefixes(&self, text: &[u8]) -> impl Iterator<Item = (usize, u32)> {
        let step = |node: &mut usize, label: &u8| {
            *node = self.child(*node, *label)?;
            Some(self.id[*node])
        };
        let ids = text.iter().scan(0, step);
        (1..).zip(ids).filter(|(_, id)| *id != NONE)
    }

    /// The id of a whole piece.
    pub fn get(&self, text: &[u8]) -> Option<u32> {
        let mut found = self.prefixes(text);
        found.find_map(|(length, id)| (length == text.len()).then_some(id))
    }

    /// The node that a byte leads to.
    fn child(&self, node: usize, label: u8) -> Option<usize> {
        let (from, to) = (self.first[node] as usize, self.first[node + 1] as usize);
        let labels = &self.label[from..to];
        let at = match labels {
            [] => None,
            [only] => (*only == label).then_some(0),
            _ => memchr::memchr(label, labels),
        };
        at.map(|at| from + at)
    }
}
