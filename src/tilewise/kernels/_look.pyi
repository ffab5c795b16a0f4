# Only for other kernels, which take it in with cimport.
