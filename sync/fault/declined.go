package fault

// ErrDeclined is returned where a person was asked and said no.
var ErrDeclined error = New(Declined, "cancelled, nothing changed")
