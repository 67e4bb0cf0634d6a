package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/go-playground/validator/v10"
	"github.com/goccy/go-yaml"
)

// Config fills target, a pointer to a struct, from three places, the later over
// the earlier: `default` tags, the *.yaml, *.yml and *.json files of CONFIG_DIR
// in order of name, and the environment variables that `env` tags name. Then
// `validate` tags are checked (github.com/go-playground/validator). A key that
// the struct lacks is an error, as is every other mistake; all are reported at
// once where possible. What target held before is replaced; on an error it stays.
func (s *Service) Config(target any) error {
	value := reflect.ValueOf(target)
	if value.Kind() != reflect.Pointer || value.IsNil() || value.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("configure: %T is not a pointer to a struct", target)
	}
	loaded := reflect.New(value.Elem().Type())
	if err := s.load(loaded.Interface()); err != nil {
		return err
	}
	value.Elem().Set(loaded.Elem())
	return nil
}

func (s *Service) load(target any) error {
	if err := env.ParseWithOptions(target, env.Options{Environment: map[string]string{}, DefaultValueTagName: "default"}); err != nil {
		return fmt.Errorf("configure: defaults: %w", err)
	}
	names, err := configFiles(s.settings.ConfigDir)
	if err != nil {
		return fmt.Errorf("configure: %w; look at CONFIG_DIR", err)
	}
	for _, name := range names {
		body, err := readBounded(name)
		if err != nil {
			return fmt.Errorf("configure: %w", err)
		}
		if len(strings.TrimSpace(string(body))) == 0 {
			continue
		}
		if err := yaml.UnmarshalWithOptions(body, target, yaml.Strict()); err != nil {
			return fmt.Errorf("configure: %s: %s", filepath.Base(name), strings.TrimSpace(yaml.FormatError(err, false, false)))
		}
	}
	if err := env.ParseWithOptions(target, env.Options{Environment: s.environment, DefaultValueTagName: "no default"}); err != nil {
		return fmt.Errorf("configure: environment: %w", err)
	}
	return validate(target)
}

func configFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) {
			continue
		}
		names = append(names, filepath.Join(dir, entry.Name()))
	}
	return names, nil
}

func validate(target any) error {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(fieldName)
	v.RegisterCustomTypeFunc(func(value reflect.Value) any {
		secret, _ := value.Interface().(Secret)
		return secret.Reveal()
	}, Secret{})
	err := v.Struct(target)
	var fields validator.ValidationErrors
	if !errors.As(err, &fields) {
		if err != nil {
			return fmt.Errorf("configure: %w", err)
		}
		return nil
	}
	var errs []error
	for _, field := range fields {
		rule := field.Tag()
		if field.Param() != "" {
			rule += "=" + field.Param()
		}
		_, path, _ := strings.Cut(field.Namespace(), ".")
		// Not the value: it may be a Secret's.
		errs = append(errs, fmt.Errorf("configure: %s does not satisfy %q", path, rule))
	}
	return errors.Join(errs...)
}

// fieldName is what a field is called where its value is written.
func fieldName(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
	if name == "" {
		name = strings.ToLower(field.Name)
	}
	if variable, _, _ := strings.Cut(field.Tag.Get("env"), ","); variable != "" {
		name += " (" + variable + ")"
	}
	return name
}
