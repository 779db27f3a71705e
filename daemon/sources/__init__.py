"""From a provider's notice to SceneAcquired."""
