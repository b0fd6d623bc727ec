"""Export of encoders as ONNX or OpenVINO graphs, and to the Hub."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from indexing.errors import InputError, RetrieveError
from indexing.inputs import local_path, shown

if TYPE_CHECKING:
    from retrieve.encoders.modules.transformer import Transformer


class Exported:
    """Methods that write an encoder for use elsewhere."""

    checkpoint: Any

    def export(self, backend: Literal["onnx", "openvino"], path: str | Path) -> None:
        """Save the encoder with its transformer as a graph, which the same class loads and an engine runs on the CPU.

        The folder has the layout of sentence-transformers' ``backend=`` and of optimum: ``onnx/model.onnx`` or
        ``openvino/openvino_model.xml`` beside the configuration, the tokenizer and the other modules. The graph is in
        float32; vectors are equal to 1e-4.

        Parameters
        ----------
        backend
            "onnx" or "openvino".
        path
            A folder that does not exist or is empty.

        Raises
        ------
        InputError
            For an encoder without exactly one transformer, or one with a masked-language-model head.
        """
        from retrieve.encoders.modules.exported import check_exportable, write_graph

        found: list[Transformer] = self._transformers()  # type: ignore[attr-defined]
        if len(found) != 1:
            raise InputError(
                f"{shown(self)} has {len(found) or 'no'} transformers: an encoder with one can be exported"
            )
        model, folder = found[0].model, local_path(path, "path")
        if getattr(model, "peft_config", None):
            raise InputError("an adapter cannot be exported: add it to the weights first, with merge_adapters()")
        check_exportable(model, found[0].transformer_task, backend)
        self.save(folder)  # type: ignore[attr-defined]
        # The transformer is the first module, which is saved in the folder itself.
        write_graph(model, found[0].transformer_task, backend, folder, type_ids=found[0]._has_type_ids)
        for weights in folder.glob("model*.safetensors*"):
            weights.unlink()

    def push_to_hub(
        self,
        repo_id: str,
        token: str | None = None,
        private: bool | None = None,
        *,
        commit_message: str | None = None,
        exist_ok: bool = False,
        replace_model_card: bool = False,
        revision: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Upload the encoder with its model card to the Hub, and return the address of the commit or pull request.

        Parameters
        ----------
        repo_id
            Name of the repository, with the organisation or user; it is created unless it exists.
        token, private
            Access token, and whether a new repository is private.
        commit_message
            First line of the commit.
        exist_ok
            Write to a repository that exists.
        replace_model_card
            Replace a card that the repository has.
        revision, create_pr
            Branch to write to; open a pull request instead.

        Raises
        ------
        InputError
            When the Hub cannot be reached, or refuses.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        try:
            repo_id = api.create_repo(repo_id, private=private, exist_ok=exist_ok or create_pr).repo_id
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            with TemporaryDirectory() as staging:
                folder = Path(staging) / "model"
                self.save(folder)  # type: ignore[attr-defined]
                if not replace_model_card and api.file_exists(repo_id, "README.md", revision=revision):
                    (folder / "README.md").unlink(missing_ok=True)
                commit = api.upload_folder(
                    repo_id=repo_id,
                    folder_path=folder,
                    commit_message=commit_message or "Add the encoder",
                    revision=revision,
                    create_pr=create_pr,
                )
        except RetrieveError:
            raise
        except Exception as error:  # The Hub's library raises its own errors, and those of its HTTP client.
            raise InputError(
                f"push_to_hub: {repo_id} cannot be written ({' '.join(str(error).split())[:200]}): log in with "
                "`hf auth login`, and choose a name that you may write to (exist_ok=True for one that exists)"
            ) from error
        return str((commit.pr_url if create_pr else None) or commit.commit_url)
