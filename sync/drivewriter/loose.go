package drivewriter

import (
	"os"
	"pkgsneak/sync/durable"
)

// mkdirTree makes a directory beside the origins, unless it is there.
func (s *session) mkdirTree(dir string) error {
	if info, err := s.d.Root().Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	return s.do("mkdir", dir, func() error { return s.d.Root().Mkdir(dir, 0o755) })
}

// writeLoose writes a file beside the origins, unless it is there.
func (s *session) writeLoose(name string, data []byte) error {
	old, err := s.d.ReadAll(s.d.Root(), name, 1<<20)
	if err == nil && string(old) == string(data) {
		return nil
	}
	return s.do("write", name, func() error {
		f, err := durable.OpenFile(s.d.Root(), name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt(data, 0); err != nil {
			return err
		}
		if err := f.Truncate(int64(len(data))); err != nil {
			return err
		}
		return f.Close()
	})
}
