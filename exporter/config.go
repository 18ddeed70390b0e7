package wandbexporter

// Config is the configuration of the component "wandb".
type Config struct {
	// Dir is the folder under which runs are written.
	Dir string `mapstructure:"dir"`

	// prevent unkeyed literal initialization
	_ struct{}
}
