"""The contract's services for models: what is loaded, and how that is changed."""

from importlib.metadata import version

import grpc

from kompakt.v1 import compression_pb2 as pb
from kompakt.v1 import compression_pb2_grpc as pb_grpc
from kompakt_codec.images import IMAGE_FORMATS
from kompakt_service.answers import describe_model
from kompakt_service.call import Call
from kompakt_service.settings import Settings
from kompakt_service.store import ModelStore


class ModelServicer(pb_grpc.ModelServiceServicer):
    """``kompakt.v1.ModelService``."""

    def __init__(self, store: ModelStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        """List every loaded version."""
        del request, context
        models = self._store.snapshot()
        return pb.ListModelsResponse(
            models=[describe_model(model, models) for model in models.loaded.values()]
        )

    def GetModel(  # noqa: N802
        self, request: pb.GetModelRequest, context: grpc.ServicerContext
    ) -> pb.GetModelResponse:
        """Describe one version."""
        del context
        models = self._store.snapshot()
        return pb.GetModelResponse(model=describe_model(models.get(request.name, "name"), models))

    def GetServerInfo(  # noqa: N802
        self, request: pb.GetServerInfoRequest, context: grpc.ServicerContext
    ) -> pb.GetServerInfoResponse:
        """Tell the server's version and limits."""
        del request, context
        settings = self._settings
        return pb.GetServerInfoResponse(
            version=version("kompakt"),
            max_images=settings.max_images,
            max_image_bytes=settings.max_image_bytes,
            max_image_pixels=settings.max_image_pixels,
            max_message_bytes=settings.max_message_bytes,
            device=settings.device,
            image_formats=IMAGE_FORMATS,
        )


class ModelAdminServicer(pb_grpc.ModelAdminServiceServicer):
    """``kompakt.v1.ModelAdminService``, for those whom ``AdminPool`` lets in."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    def LoadModel(  # noqa: N802
        self, request: pb.LoadModelRequest, context: grpc.ServicerContext
    ) -> pb.LoadModelResponse:
        """Load a checkpoint and test it."""
        call = Call.of(context)
        model, models = self._store.add(request.path, call, promote=request.promote)
        return pb.LoadModelResponse(model=describe_model(model, models))

    def UnloadModel(  # noqa: N802
        self, request: pb.UnloadModelRequest, context: grpc.ServicerContext
    ) -> pb.UnloadModelResponse:
        """Unload a version or a model."""
        call = Call.of(context)
        gone = self._store.unload(request.model, call, all_versions=request.all_versions)
        return pb.UnloadModelResponse(unloaded=[version.reference for version in gone])

    def PromoteModel(  # noqa: N802
        self, request: pb.PromoteModelRequest, context: grpc.ServicerContext
    ) -> pb.PromoteModelResponse:
        """Make a version the current one."""
        model, models = self._store.promote(request.model, Call.of(context))
        return pb.PromoteModelResponse(model=describe_model(model, models))

    def RollbackModel(  # noqa: N802
        self, request: pb.RollbackModelRequest, context: grpc.ServicerContext
    ) -> pb.RollbackModelResponse:
        """Make the version before the current one current."""
        model, models = self._store.roll_back(request.name, Call.of(context))
        return pb.RollbackModelResponse(model=describe_model(model, models))
