package temporal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	schema "go.temporal.io/server/schema/sqlite"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Namespace is the one namespace that is registered.
const Namespace = "default"

// retention is how long a closed workflow stays readable.
const retention = 7 * 24 * time.Hour

// connection describes the SQLite file. synchronous=1 loses the last commits at a power failure, never the file,
// and is half as slow as 2.
func connection(file string) *config.SQL {
	return &config.SQL{
		PluginName:   sqlite.PluginName,
		DatabaseName: file,
		ConnectAttributes: map[string]string{
			"mode":         "rwc",
			"journal_mode": "wal",
			"synchronous":  "1",
		},
	}
}

// prepare makes the database with its namespace unless it is there. A mark beside the file tells a database whose
// making was interrupted, which is thrown away.
func prepare(file string, attributes []temporal.SearchAttributeKey) error {
	mark := file + ".incomplete"
	whole, err := exists(file)
	if err != nil {
		return err
	}
	interrupted, err := exists(mark)
	if err != nil {
		return err
	}
	if whole && !interrupted {
		return nil
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return fmt.Errorf("mark the database as incomplete: %w", err)
	}
	for _, name := range []string{file, file + "-wal", file + "-shm"} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the incomplete database: %w", err)
		}
	}
	if err := create(connection(file), attributes); err != nil {
		return err
	}
	return os.Remove(mark)
}

// create makes schema and namespace. Search attributes made together with the namespace are usable at once; added
// later, they take the server seconds to see.
func create(sql *config.SQL, attributes []temporal.SearchAttributeKey) error {
	if err := schema.SetupSchema(sql); err != nil {
		return fmt.Errorf("set up the schema: %w", err)
	}
	types := make(map[string]enums.IndexedValueType, len(attributes))
	for _, key := range attributes {
		types[key.GetName()] = key.GetValueType()
	}
	namespace, err := schema.NewNamespaceConfig(clusterName, Namespace, false, types)
	if err != nil {
		return fmt.Errorf("describe namespace %s: %w", Namespace, err)
	}
	namespace.Detail.Config.Retention = durationpb.New(retention)
	if err := schema.CreateNamespaces(sql, namespace); err != nil {
		return fmt.Errorf("create namespace %s: %w", Namespace, err)
	}
	return nil
}

func exists(file string) (bool, error) {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
