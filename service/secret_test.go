package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	const text = "canary-7f3a"
	secret := NewSecret(text)
	type exported struct{ Token Secret }
	type hidden struct{ token Secret }
	type deep struct{ inner []*hidden }
	values := map[string]any{
		"value": secret, "pointer": &secret, "slice": []Secret{secret}, "map": map[string]Secret{"a": secret},
		"field": exported{secret}, "hidden field": hidden{secret}, "deep": deep{[]*hidden{{secret}}},
		"access": StoreAccess{Password: secret},
	}
	for name, value := range values {
		var all bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&all, verb+"\n", value)
		}
		if body, err := json.Marshal(value); err == nil {
			all.Write(body)
		}
		if body, err := yaml.Marshal(value); err == nil {
			all.Write(body)
		}
		slog.New(slog.NewTextHandler(&all, nil)).Info("text", "value", value)
		slog.New(slog.NewJSONHandler(&all, nil)).Info("json", "value", value)
		if printed := all.String(); strings.Contains(printed, text) || strings.Contains(printed, fmt.Sprintf("%x", text)) {
			t.Errorf("%s: %s", name, printed)
		}
	}
	if secret.Reveal() != text || (Secret{}).Reveal() != "" {
		t.Error("Reveal does not")
	}
}
