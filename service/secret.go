package service

import "log/slog"

const redacted = "[redacted]"

// A Secret is text that no formatter prints: not fmt, JSON, YAML or slog. Only
// Reveal gives it back.
type Secret struct {
	// A pointer, because fmt cannot call String on a field that is not exported:
	// inside such a field it prints an address rather than the text.
	text *string
}

func NewSecret(text string) Secret { return Secret{text: &text} }

// Reveal returns the text itself. Call it where the text is used, and keep the
// Secret everywhere else.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

func (s Secret) String() string                { return redacted }
func (s Secret) GoString() string              { return redacted }
func (s Secret) LogValue() slog.Value          { return slog.StringValue(redacted) }
func (s Secret) MarshalText() ([]byte, error)  { return []byte(redacted), nil }
func (s Secret) MarshalJSON() ([]byte, error)  { return []byte(`"` + redacted + `"`), nil }
func (s *Secret) UnmarshalText(b []byte) error { *s = NewSecret(string(b)); return nil }
