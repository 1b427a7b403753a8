package doctor

import (
	"context"
)

// Examine looks at the machine. The error is ctx's, or that the drive cannot be read as such.
func Examine(ctx context.Context, o Options) (*Report, error) {
	l := newFindings(o.Ignore)
	f, err := readFacts(ctx, o, l)
	if err != nil {
		return nil, err
	}
	defer f.close()
	for _, rules := range []struct {
		apply bool
		look  func(context.Context) error
	}{
		{true, (&commonRules{f, l}).check},
		{f.is(Host), func(context.Context) error { (&hostRules{f, l}).check(); return nil }},
		{true, func(context.Context) error { (&repositoryRules{f, l}).check(); return nil }},
		// before the client's: what the drive has counts there
		{o.Drive != "", (&driveRules{f, l}).check},
		{f.is(Client), (&clientRules{facts: f, findings: l}).check},
	} {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if !rules.apply {
			continue
		}
		if err := rules.look(ctx); err != nil {
			return nil, err
		}
	}
	l.sort()
	return l.r, nil
}
