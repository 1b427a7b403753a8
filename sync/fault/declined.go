package fault

// ErrDeclined: the person was asked and said no.
var ErrDeclined error = New(Declined, "cancelled, nothing changed")
