"""Parts of the benchmarks: inputs, engines in processes of their own, comparisons."""
