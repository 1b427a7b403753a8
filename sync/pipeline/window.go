package pipeline

// copyWindow is how many files may be done, or be worked on, before the first of them is.
const Window = 256
