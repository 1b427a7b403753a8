package fault

// ErrNotTrusted is returned where a person was asked whether a key is trusted, and said no: the key
// is what it was before, and the run ends as one that meets such a key.
var ErrNotTrusted error = New(Untrusted, "cancelled, nothing changed: the key is not trusted")

// ErrDeclined is returned where a person was asked and said no.
var ErrDeclined error = New(Declined, "cancelled, nothing changed")
